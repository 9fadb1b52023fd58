"""Every public name of nameko's, imported as its users import it."""

import ast
import subprocess
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from nameko_names import NAMES, WITHOUT_COUNTERPART
from under_nameko import standing_in

from rpcservice.compat import nameko
from rpcservice.compat.nameko._elsewhere import LIBRARIES
from rpcservice.compat.nameko._missing import MODULES
from rpcservice.nameko_names import BORROWERS, homes_of

ALL = [(module, name) for module, names in NAMES.items() for name in names.split()]
THERE = [(module, name) for module, name in ALL if f"{module}.{name}" not in WITHOUT_COUNTERPART]
MISSING = [(module, name) for module, name in ALL if f"{module}.{name}" in WITHOUT_COUNTERPART]


@pytest.fixture(autouse=True)
def _standing_in() -> Iterator[None]:
    with standing_in():
        yield


@pytest.mark.parametrize("module", NAMES)
def test_a_module_is_there(module: str) -> None:
    """And is ours."""
    assert import_module(module).__name__ == f"rpcservice.compat.{module}"


@pytest.mark.parametrize(("module", "name"), THERE)
def test_a_name_is_there(module: str, name: str) -> None:
    """By ``from module import name``."""
    scope: dict[str, object] = {}
    exec(f"from {module} import {name}", scope)
    assert scope[name] is getattr(import_module(module), name)


@pytest.mark.parametrize(("module", "name"), MISSING)
def test_a_name_without_counterpart_says_what_to_use(module: str, name: str) -> None:
    """When it is imported."""
    with pytest.raises(ImportError, match=rf"^{module}\.{name} has no counterpart in rpcservice; \w+") as caught:
        exec(f"from {module} import {name}", {})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("module", "name", "home"), [(module, *pair) for module in sorted(BORROWERS) for pair in homes_of(module).items()]
)
def test_what_a_module_only_imports_can_be_had_from_it(module: str, name: str, home: str) -> None:
    """As the same object."""
    scope: dict[str, object] = {}
    exec(f"from {module} import {name} as found\nfrom {home} import {name} as meant", scope)
    assert scope["found"] is scope["meant"]


@pytest.mark.parametrize(
    ("module", "name", "home"), [(module, *pair) for module, names in LIBRARIES.items() for pair in names.items()]
)
def test_what_a_module_imports_from_libraries_can_be_had_from_it(module: str, name: str, home: str) -> None:
    """As the same object."""
    assert getattr(import_module(module), name) is getattr(import_module(home), name)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_missing_says_what_to_use(module: str) -> None:
    """Each with a word of its own."""
    with pytest.raises(ModuleNotFoundError) as caught:
        import_module(module)
    assert str(caught.value).endswith(f"has no module {module!r}; {MODULES[module]}")


def test_a_name_that_nameko_does_not_have_either_is_an_ordinary_mistake() -> None:
    """In a module that knows names without counterpart too."""
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'rpcservice.compat.nameko.web.server'"):
        exec("from nameko.web.server import nothing", {})


def test_the_table_has_every_module_of_this_package() -> None:
    """A module that is added belongs into it."""
    folder = Path(nameko.__file__).parent
    found = set()
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if not any(part.startswith("_") and part != "__init__" for part in parts):
            found.add(".".join(("nameko", *(part for part in parts if part != "__init__"))))
    assert found == set(NAMES)


@pytest.mark.interop
@pytest.mark.parametrize("version", [2, 3])
def test_the_table_has_every_module_and_class_of_nameko(version: int) -> None:
    """Modules with a leading underscore apart, and those of its own command line."""
    from nameko_environment import nameko_python

    code = "import nameko; print(nameko.__path__[0])"
    done = subprocess.run([nameko_python(version), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    folder = Path(done.stdout.strip())
    own = ("nameko.cli", "nameko.__main__", "nameko.standalone.rpc", "nameko.testing.pytest")
    missing = []
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(("nameko", *(part for part in parts if part != "__init__")))
        if module.startswith(own):
            continue
        known = NAMES.get(module, "-").split()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in known and node.name[0] != "_":
                missing.append(f"{module}.{node.name}")
    assert sorted(set(missing) - INTERNAL) == []


@pytest.mark.interop
@pytest.mark.parametrize("version", [2, 3])
def test_every_module_and_name_of_nameko_is_there_or_says_what_to_use(version: int) -> None:
    """Also its command line's; and what a module takes from another one."""
    from nameko_environment import nameko_python

    code = "import nameko; print(nameko.__path__[0])"
    done = subprocess.run([nameko_python(version), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    folder = Path(done.stdout.strip())
    silent = []
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(("nameko", *(part for part in parts if part != "__init__")))
        if module in MODULES or module == "nameko.__main__":
            continue
        for name in filter(is_public, defined_names(ast.parse(path.read_text()).body)):
            try:
                exec(f"from {module} import {name}", {})
            except ImportError as exc:
                if not str(exc).startswith(f"{module}.{name} has no counterpart in rpcservice; "):
                    silent.append(f"{module}.{name}")
    assert silent == []


def is_public(name: str) -> bool:
    """Say whether a name is for users."""
    return not name.startswith("_")


def defined_names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Give what statements of a module define, or take from another module of nameko's."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.ImportFrom) and (node.level or str(node.module).split(".")[0] == "nameko"):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.Try):
            handled = [part for handler in getattr(node, "handlers", ()) for part in handler.body]
            yield from defined_names([*node.body, *handled, *node.orelse])


INTERNAL = {
    "nameko.testing.utils.MockCallArgs",
}
"""Not meant for users."""


@pytest.mark.parametrize("module", NAMES)
def test_a_star_import_gives_the_names_of_the_module_alone(module: str) -> None:
    """Not the classes of ours that it is built on, which would take the place of nameko's."""
    scope: dict[str, object] = {}
    exec(f"from {module} import *", scope)
    del scope["__builtins__"]
    assert set(scope) == {name for there, name in THERE if there == module}
