"""The import hook, in processes of its own: what it changes stays changed."""

import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = "import rpcservice.compat.nameko as compat\ncompat.install()\n"


def run(code: str, *paths: Path, install: bool = True, **environment: str) -> str:
    """Run a program; gives what it printed, standard error included."""
    done = subprocess.run(
        [sys.executable, "-c", (INSTALL if install else "") + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(map(str, paths)), **environment},
        check=False,
    )
    return done.stdout.strip()


@pytest.fixture
def real_nameko(tmp_path: Path) -> Path:
    """A folder with a package that stands for the real nameko."""
    package = tmp_path / "nameko"
    package.mkdir()
    (package / "__init__.py").write_text("who = 'the real one'\n")
    (package / "rpc.py").write_text("rpc = None\n")
    return tmp_path


def test_a_module_of_nameko_is_the_module_of_this_package() -> None:
    """One object under two names, so that classes are the same whoever imports them."""
    code = """
import nameko.extensions, rpcservice.compat.nameko.extensions as ours
print(nameko.extensions is ours, nameko is compat)
from nameko.extensions import Extension
print(Extension is ours.Extension)
"""
    assert run(code).splitlines() == ["True True", "True"]


def test_a_module_keeps_its_own_name_and_spec() -> None:
    """Pickles, reloads and error messages go by them."""
    code = (
        "import nameko.extensions as e; print(e.__name__, e.__spec__.name, e.__spec__.origin.endswith('extensions.py'))"
    )
    name = "rpcservice.compat.nameko.extensions"
    assert run(code) == f"{name} {name} True"


def test_installing_costs_no_import_of_a_transport() -> None:
    """The hook alone is cheap; what is behind it comes when it is asked for."""
    code = "import sys; print(*(name for name in ('kombu', 'eventlet', 'werkzeug', 'yaml') if name in sys.modules))"
    assert run(code) == ""


def test_the_hook_goes_before_an_installed_nameko(real_nameko: Path) -> None:
    """Community extensions bring it with them."""
    assert run("import nameko; print(nameko is compat)", real_nameko) == "True"


def test_a_nameko_that_is_in_use_is_not_replaced(real_nameko: Path) -> None:
    """Half of a program would use one and half the other."""
    code = "import nameko.rpc\n" + INSTALL
    output = run(code, real_nameko, install=False)
    assert output.splitlines()[-1].startswith(f"ImportError: nameko has been imported from {real_nameko}/nameko/")
    assert "call rpcservice.compat.nameko.install() before anything imports nameko" in output


def test_after_uninstalling_nameko_is_looked_for_again(real_nameko: Path) -> None:
    """Its modules too."""
    code = """
import nameko.extensions
compat.uninstall()
import nameko, nameko.rpc
print(nameko.who, nameko.rpc.rpc, compat.is_installed())
"""
    assert run(code, real_nameko) == "the real one None False"


def test_installing_twice_is_installing_once() -> None:
    """One uninstall undoes both."""
    code = """
compat.install()
print(compat.is_installed())
compat.uninstall()
try:
    import nameko
except ModuleNotFoundError as exc:
    print(exc)
"""
    assert run(code).splitlines() == ["True", "No module named 'nameko'"]


def test_a_module_that_is_missing_is_named() -> None:
    """With the guide that says what to use."""
    code = "import nameko.legacy"
    last = run(code).splitlines()[-1]
    assert last.startswith(
        "ModuleNotFoundError: rpcservice stands in for nameko here and has no module 'nameko.legacy'"
    )
    assert "Coming from nameko" in last


def test_other_modules_are_found_as_ever(tmp_path: Path) -> None:
    """Names that only begin alike too."""
    (tmp_path / "nameko_extras.py").write_text("here = 'yes'\n")
    assert run("import nameko_extras; print(nameko_extras.here)", tmp_path) == "yes"


def test_a_name_can_be_patched_where_nameko_has_it() -> None:
    """As unit tests of services do."""
    code = """
from unittest import mock
import nameko.extensions
before = nameko.extensions.register_entrypoint
with mock.patch("nameko.extensions.register_entrypoint") as patched:
    print(nameko.extensions.register_entrypoint is patched)
print(nameko.extensions.register_entrypoint is before)
"""
    assert run(code).splitlines() == ["True", "True"]


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("yes", True), ("0", False), ("false", False), ("", False)])
def test_the_environment_switches_the_hook_on(value: str, is_on: bool) -> None:
    """For every program that imports rpcservice, the command line among them."""
    code = "import rpcservice\ntry:\n    import nameko.timer\n    print(True)\nexcept ImportError:\n    print(False)\n"
    assert run(code, install=False, RPCSERVICE_NAMEKO=value) == str(is_on)


def test_what_is_configured_for_loggers_of_nameko_holds_for_ours() -> None:
    """Levels and handlers alike; the record tells the real origin."""
    code = """
import logging, sys
logging.getLogger("nameko").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("nameko").setLevel(logging.WARNING)
logging.getLogger("nameko.runners").setLevel(logging.INFO)
logging.getLogger("rpcservice.core.runner").info("starting")
logging.getLogger("rpcservice.core.worker").info("not wanted")
logging.getLogger("rpcservice.web.websocket").warning("careful")
"""
    assert run(code).splitlines() == ["starting", "careful"]


def test_uninstalling_separates_the_loggers_again() -> None:
    """As they were."""
    code = """
import logging, sys
compat.uninstall()
logging.getLogger("nameko").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("rpcservice.core.runner").error("unseen")
print(logging.getLogger("rpcservice.core.runner").parent.name, logging.getLogger("rpcservice").parent.name)
"""
    assert "unseen" not in [line for line in run(code).splitlines() if line == "unseen"][1:]
    assert run(code).splitlines()[-1] == "rpcservice root"
