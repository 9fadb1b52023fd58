"""The public names: what `rpcservice` offers, what type checkers see, and what the documentation lists."""

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rpcservice
import rpcservice.aio
import rpcservice.testing

DOCS = Path(__file__).parents[1] / "docs"
OFFERING = (rpcservice, rpcservice.aio, rpcservice.testing)


def documented(label: str) -> list[str]:
    """Give the names in the first column of a table of docs/api.rst."""
    page = (DOCS / "api.rst").read_text(encoding="utf-8")
    table = page.split(f".. list-table:: {label}\n", 1)[1].split("\n.. list-table::", 1)[0]
    return re.findall(r"^   \* - ``(\w+)``$", table, re.MULTILINE)


@pytest.mark.parametrize("module", OFFERING, ids=lambda module: module.__name__)
def test_names_are_sorted_and_given_once(module: ModuleType) -> None:
    """A reader finds a name by its first letter."""
    assert list(module.__all__) == sorted(set(module.__all__))


@pytest.mark.parametrize(
    ("module", "name"), [pytest.param(module, name, id=name) for module in OFFERING for name in module.__all__]
)
def test_a_public_name_resolves_and_says_what_it_is(module: ModuleType, name: str) -> None:
    """``help(name)`` answers; constants are explained by the text below them."""
    value = getattr(module, name)
    assert explanation(module, name) if isinstance(value, str) else value.__doc__


def explanation(module: ModuleType, name: str) -> str:
    """Give the text below a constant in the module that defines it."""
    source = inspect.getsource(import_module(module._HOME_OF[name]))
    found = re.search(rf'^{name} = .*\n"""(.+?)"""$', source, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def test_an_unknown_name_is_refused_by_name() -> None:
    """As by any other module."""
    with pytest.raises(AttributeError, match="module 'rpcservice' has no attribute 'rcp'"):
        rpcservice.rcp  # noqa: B018


@pytest.mark.parametrize("module", OFFERING, ids=lambda module: module.__name__)
def test_dir_lists_public_names(module: ModuleType) -> None:
    """Completion in a shell works, although nothing is imported yet."""
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("module", OFFERING, ids=lambda module: module.__name__)
def test_no_public_name_is_a_submodule_too(module: ModuleType) -> None:
    """Importing ``rpcservice.timer`` would put the module in the place of the decorator."""
    (folder,) = module.__path__
    submodules = {path.stem for path in Path(folder).iterdir()}
    assert submodules & set(module.__all__) == set()


def test_importing_a_submodule_replaces_no_name() -> None:
    """A package's function that is named like a module of it would be that module, once somebody had imported it."""
    code = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
import rpcservice
for package in [rpcservice, *map(importlib.import_module, (
    found.name for found in pkgutil.walk_packages(rpcservice.__path__, "rpcservice.") if found.ispkg
))]:
    before = {name: value for name, value in vars(package).items() if not name.startswith("_")}
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name != "rpcservice.__main__":
            importlib.import_module(found.name)
    for name, value in before.items():
        if getattr(package, name) is not value:
            print(f"{package.__name__}.{name}")
"""
    assert run_python(code) == ""


def test_type_checkers_see_the_same_names() -> None:
    """Names that are resolved lazily are untyped unless they are imported for type checkers as well."""
    assert seen_by_type_checkers(rpcservice) == rpcservice._HOME_OF


def seen_by_type_checkers(module: ModuleType) -> dict[str, str]:
    """Give the names under ``if TYPE_CHECKING`` with their homes."""
    names = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                names.update({alias.asname or "": str(line.module) for alias in line.names})
    return names


def test_the_documentation_lists_the_public_names() -> None:
    """The table in docs/api.rst is whole and in order."""
    assert documented("Names of ``rpcservice``") == list(rpcservice.__all__)


def test_the_documentation_lists_the_names_for_tests() -> None:
    """The table in docs/api.rst is whole and in order."""
    assert documented("Names of ``rpcservice.testing``") == list(rpcservice.testing.__all__)


def test_the_documentation_lists_the_names_for_asyncio() -> None:
    """The table in docs/api.rst is whole and in order."""
    assert documented("Names of ``rpcservice.aio``") == list(rpcservice.aio.__all__)


def run_python(code: str) -> Any:
    """Run code in a process of its own and give what it prints."""
    # Not measured: coverage itself imports eventlet.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    """A program that only catches an exception pays for nothing else, and is never patched by surprise."""
    heavy = "{'eventlet', 'greenlet', 'kombu', 'amqp', 'werkzeug', 'yaml', 'click'}"
    assert run_python(f"import rpcservice, sys; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


def test_importing_the_names_of_services_patches_nothing() -> None:
    """Only the command line patches; a test that imports a service keeps its own sockets."""
    code = """
import socket, threading
before = socket.socket, threading.Thread.start
from rpcservice import EventDispatcher, ServiceRpc, event_handler, http, rpc, timer
print((socket.socket, threading.Thread.start) == before)
"""
    assert run_python(code) == "True\n"
