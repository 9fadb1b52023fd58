"""The table of names: what it says is there, is there."""

from importlib import import_module

import pytest
from nameko_names import NAMES

import rpcservice
import rpcservice.standalone
import rpcservice.testing
from rpcservice.migrate.names import COMPAT, FIXTURES, MISSING, MODULES, NOWHERE, TARGETS
from rpcservice.nameko_names import BORROWERS, homes_of

PUBLIC = {
    "rpcservice": rpcservice.__all__,
    "rpcservice.standalone": rpcservice.standalone.__all__,
    "rpcservice.testing": rpcservice.testing.__all__,
}


@pytest.mark.parametrize("path", sorted(TARGETS))
def test_a_name_is_where_the_table_says(path: str) -> None:
    target = TARGETS[path]
    assert hasattr(import_module(target.module), target.name)


@pytest.mark.parametrize("path", sorted(path for path, target in TARGETS.items() if not target.mend))
def test_a_name_of_our_own_is_public(path: str) -> None:
    assert TARGETS[path].name in PUBLIC[TARGETS[path].module]


OTHER_THINGS = {
    "nameko.Config",
    "nameko.amqp.publish.Publisher",
    "nameko.standalone.events.Publisher",
    "nameko.standalone.rpc.Publisher",
    "nameko.testing.utils.wait_for_call",
}
"""Called otherwise than what bears their names in rpcservice."""


@pytest.mark.parametrize("path", sorted({path for path, target in TARGETS.items() if target.mend} | set(MISSING)))
def test_a_name_that_is_not_mapped_is_no_public_name_of_ours(path: str) -> None:
    """What becomes public later on belongs among those with a name of our own."""
    is_public = any(path.rpartition(".")[2] in names for names in PUBLIC.values())
    assert is_public == (path in OTHER_THINGS)


def test_what_drop_in_mode_has_not_either_is_missing() -> None:
    assert set(MISSING) >= NOWHERE


@pytest.mark.parametrize("path", sorted(set(MISSING) - NOWHERE - {"nameko.testing.pytest"}))
def test_what_only_drop_in_mode_has_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(import_module(f"{COMPAT}.{module}"), name)


def test_what_only_the_compatibility_layer_has_keeps_its_path() -> None:
    borrowed = [f"{module}.{name}" for module in BORROWERS for name in homes_of(module)]
    stays = {path: target for path, target in TARGETS.items() if target.mend and path not in borrowed}
    assert stays
    assert all(target.path == f"{COMPAT}.{path}" for path, target in stays.items())


@pytest.mark.parametrize(
    ("path", "home"),
    [(f"{module}.{name}", f"{home}.{name}") for module in BORROWERS for name, home in homes_of(module).items()],
)
def test_what_a_module_only_imports_is_taken_from_its_home(path: str, home: str) -> None:
    """Unless there is none of that name in rpcservice, whichever module it is asked of."""
    if home in TARGETS:
        assert TARGETS[path] == TARGETS[home]
    else:
        assert MISSING[path] == MISSING.get(home, MISSING["nameko.serialization.setup"])


@pytest.mark.parametrize(
    "path",
    [
        f"{module}.{name}"
        for module, names in NAMES.items()
        for name in names.split()
        if module != "nameko.testing.pytest"
    ],
)
def test_every_name_of_namekos_is_in_the_table(path: str) -> None:
    assert path in TARGETS or path in MISSING


def test_every_fixture_of_namekos_is_ours_too_or_in_the_table() -> None:
    ours = {"container_factory", "runner_factory"}
    assert set(NAMES["nameko.testing.pytest"].split()) - ours == set(FIXTURES)


def test_a_name_is_there_or_missing() -> None:
    assert not set(TARGETS) & set(MISSING)


def test_all_that_a_person_is_told_is_a_line() -> None:
    mends = [*MISSING.values(), *FIXTURES.values(), *(target.mend for target in TARGETS.values())]
    assert not [mend for mend in mends if "\n" in mend or mend.endswith(".")]


def test_modules_are_known_with_the_packages_around_them() -> None:
    assert {"nameko", "nameko.testing", "nameko.testing.services", "nameko.web.handlers"} <= MODULES
