"""Who may import whom: down only. The table is the one of docs/architecture.rst."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rpcservice

PACKAGE = Path(rpcservice.__file__).parent
ROOT = "rpcservice"

# From the ground up. A module belongs to the first prefix that names it or a package around it.
GROUND = ("errors", "config", "kinds", "concurrency", "envvars")
CORE = (
    "core.context",
    "core.extension",
    "core.entrypoint",
    "core.retry",
    "core.callpolicy",
    "core.dependency",
    "core.redaction",
    "core.resource",
    "core.process",
    "core.broadcast",
    "core.faults",
    "core.logs",
    "core.service",
    "core.timelimit",
    "core.worker",
    "core.idempotency",
    "core.once",
    "core.pool",
    "core.lifecycle",
    "core.container",
    "core.runner",
)
TRANSPORTS = ("amqp", "web", "timers", "offload")
FRONT = (
    "nameko_names",
    "reliability",
    "standalone",
    "aio",
    "testing",
    "compat",
    "migrate",
    "supervisor",
    "cli",
    "__main__",
    "",
)
LAYERS = (GROUND, (*CORE, "core"), TRANSPORTS, FRONT)

# For wiring whole services, and no business of a transport.
HIGH_CORE = ("core.container", "core.runner", "core.lifecycle", "core.pool")

# May switch the stand-in for nameko on.
SWITCHES = ("cli", "testing.plugin", "testing.patch", "")

ALLOWED_IN = {
    "kombu": ("amqp", "compat.nameko.amqp", "compat.nameko.messaging", "compat.nameko.serialization"),
    "amqp": ("amqp", "compat.nameko.amqp"),
    "vine": ("amqp",),
    "orjson": ("amqp",),
    "msgspec": ("amqp",),
    "werkzeug": ("web", "compat.nameko.web"),
    "wsproto": ("web", "testing.websocket"),
    "eventlet": (
        "concurrency.greenlets",
        "web.server",
        "web.stream",
        "cli.patching",
        "cli.backdoor_server",
        "testing.patch",
        "compat.nameko._threads",
        "compat.nameko.testing",
        "compat.nameko.utils",
    ),
    "greenlet": ("concurrency.greenlets", "concurrency.greenevents"),
    "yaml": ("config", "envvars", "cli", "compat.nameko.cli"),
    "click": ("cli", "compat.nameko.cli"),
    "libcst": ("migrate",),
    "sqlalchemy": ("reliability",),
    "redis": ("reliability",),
    "tenacity": ("reliability.pauses",),
    "pytest": ("testing", "compat.nameko.testing"),
}


@dataclass(frozen=True)
class Import:
    """One import of one module."""

    importer: str
    imported: str
    line: int
    is_for_types: bool
    is_at_load: bool

    def __str__(self) -> str:
        return f"{self.importer or ROOT}:{self.line} imports {self.imported}"


def module_names() -> dict[str, Path]:
    """Give the modules of the package by their names in it; the package itself has the empty name."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = module_names()


def read_imports(importer: str, path: Path) -> Iterator[Import]:
    """Give what a module imports, wherever in it."""
    yield from _walk(importer, ast.parse(path.read_text(encoding="utf-8")), is_for_types=False, is_at_load=True)


def _walk(importer: str, node: ast.AST, *, is_for_types: bool, is_at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(importer, alias.name, child.lineno, is_for_types, is_at_load)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{importer}:{child.lineno}: imports are absolute"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                name = inner if inner.removeprefix(f"{ROOT}.") in MODULES else str(child.module)
                yield Import(importer, name, child.lineno, is_for_types, is_at_load)
        else:
            yield from _walk(
                importer,
                child,
                is_for_types=is_for_types or _is_type_checking(child),
                is_at_load=is_at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
            )


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


IMPORTS = [found for name, path in MODULES.items() for found in read_imports(name, path)]


def own_name(imported: str) -> str | None:
    """Give a module's name within the package, None for modules of others."""
    if imported == ROOT:
        return ""
    return imported.removeprefix(f"{ROOT}.") if imported.startswith(f"{ROOT}.") else None


def is_under(module: str, prefixes: tuple[str, ...]) -> bool:
    """Say whether a module is one of these, or in one of these packages."""
    return any(module == prefix or (prefix and module.startswith(f"{prefix}.")) for prefix in prefixes)


def layer(module: str) -> int:
    """Give the number of a module's layer."""
    return next(number for number, prefixes in enumerate(LAYERS) if is_under(module, prefixes))


def own_imports() -> list[tuple[Import, str]]:
    """Give the imports of the package's own modules, with their names in it."""
    return [(found, name) for found in IMPORTS if (name := own_name(found.imported)) is not None]


def test_every_module_has_a_layer() -> None:
    """A new module is placed by its author, not by chance."""
    homeless = [name for name in MODULES if not any(is_under(name, prefixes) for prefixes in LAYERS)]
    assert homeless == []


def test_every_core_module_is_in_the_table() -> None:
    """The core is a row in which each may import those to its left."""
    in_core = {name for name in MODULES if name.startswith("core.")}
    assert in_core == set(CORE)


def test_no_module_imports_one_of_a_higher_layer() -> None:
    """Not even for types: a lower layer does not know that the higher one exists."""
    upward = [str(found) for found, name in own_imports() if layer(name) > layer(found.importer)]
    assert upward == []


def test_the_ground_stands_on_errors_alone() -> None:
    """Errors import nothing; config and concurrency do not know each other."""
    allowed: dict[str, set[str]] = {
        "errors": set(),
        "kinds": {"errors"},
        "config": {"errors", "envvars", "kinds"},
        "envvars": {"errors"},
        "concurrency": {"errors"},
    }
    wrong = [
        str(found)
        for found, name in own_imports()
        if (home := found.importer.partition(".")[0]) in GROUND and name.partition(".")[0] not in {home, *allowed[home]}
    ]
    assert wrong == []


def test_core_modules_import_only_those_to_their_left() -> None:
    """Where two must know each other's types, the arrow to the right is for types alone."""
    wrong = [
        str(found)
        for found, name in own_imports()
        if found.importer in CORE and name in CORE and not found.is_for_types
        if CORE.index(name) >= CORE.index(found.importer)
    ]
    assert wrong == []


def test_transports_do_not_know_each_other() -> None:
    """RPC over AMQP works without HTTP, and the other way round."""
    wrong = [
        str(found)
        for found, name in own_imports()
        if is_under(found.importer, TRANSPORTS) and is_under(name, TRANSPORTS)
        if found.importer.partition(".")[0] != name.partition(".")[0]
    ]
    assert wrong == []


def test_transports_see_a_host_and_no_container() -> None:
    """So a FakeHost is enough to test any of them."""
    wrong = [
        str(found)
        for found, name in own_imports()
        if is_under(found.importer, TRANSPORTS) and is_under(name, HIGH_CORE) and not found.is_for_types
    ]
    assert wrong == []


def test_only_what_switches_it_on_knows_the_stand_in_for_nameko() -> None:
    """The layer is apart: it can be changed, or left out, without a look at anything else."""
    wrong = [
        str(found)
        for found, name in own_imports()
        if is_under(name, ("compat",)) and not is_under(found.importer, ("compat", *SWITCHES))
    ]
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports for types alone, and those within functions, do not count: they do not decide what loads first."""
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found, name in own_imports():
        if found.is_at_load and not found.is_for_types and name != found.importer:
            graph[found.importer].add(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"modules import each other: {' <- '.join(exc.args[1])}")


@pytest.mark.parametrize("package", sorted(ALLOWED_IN))
def test_foreign_packages_stay_where_they_belong(package: str) -> None:
    """One folder knows each of them, so that it can be replaced."""
    wrong = [
        str(found)
        for found in IMPORTS
        if found.imported.partition(".")[0] == package and not is_under(found.importer, ALLOWED_IN[package])
    ]
    assert wrong == []


def test_the_walk_sees_imports_in_functions_and_for_types(tmp_path: Path) -> None:
    """The other tests would pass for ever if it did not."""
    source = tmp_path / "module.py"
    source.write_text(
        "import kombu\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from rpcservice.core.runner import ServiceRunner\n"
        "def late():\n    from rpcservice.core import runner\n"
    )
    found = [(one.imported, one.is_for_types, one.is_at_load) for one in read_imports("amqp.module", source)]
    assert found == [
        ("kombu", False, True),
        ("typing", False, True),
        ("rpcservice.core.runner", True, True),
        ("rpcservice.core.runner", False, False),
    ]
