import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_process import Result

from rpcservice.cli import main

Cli = Callable[..., Result]


def test_tests_run_in_a_patched_process(cli: Cli, folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "from eventlet.patcher import is_monkey_patched\ndef test_patched():\n    assert is_monkey_patched('socket')\n"
    )
    result = cli("test", "-q", "-p", "no:cacheprovider", "test_it.py", PYTHONWARNINGS="default")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_modules_are_found_in_the_current_folder(cli: Cli, folder: Path) -> None:
    """As by ``rpcservice run``: a code base need not be installed to be tested.

    Unlike ``python -m``, a script does not see to that itself, which is what PYTHONSAFEPATH stands for here.
    """
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text("import shop\ndef test_it():\n    assert shop.__file__\n")
    result = cli("test", "-q", "-p", "no:cacheprovider", "tests", PYTHONWARNINGS="default", PYTHONSAFEPATH="1")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_exit_code_is_pytests(cli: Cli, folder: Path) -> None:
    (folder / "test_it.py").write_text("")
    assert cli("test", "-q", "-p", "no:cacheprovider", "test_it.py").returncode == 5


def test_what_the_command_line_has_imported_is_not_warned_of(cli: Cli, folder: Path) -> None:
    """pytest says that it cannot rewrite the assertions of what is imported already; ours have none."""
    (folder / "test_it.py").write_text("def test_it(): pass\n")
    result = cli("test", "-q", "-p", "no:cacheprovider", "-p", "rpcservice.cli.main", "-W", "error", "test_it.py")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.parametrize("arguments", [["-k", "one"], ["test_it.py::test_one"], ["--", "test_it.py::test_one"]])
def test_all_arguments_are_pytests(arguments: list[str], cli: Cli, folder: Path) -> None:
    (folder / "test_it.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    assert "1 passed" in cli("test", "-q", "-p", "no:cacheprovider", *arguments, PYTHONWARNINGS="default").stdout


def test_without_pytest_it_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpcservice.cli.test.patch", lambda: None)
    monkeypatch.setitem(sys.modules, "pytest", None)
    result = CliRunner().invoke(main, ["test"])
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: rpcservice test needs pytest; install it with: pip install pytest\n",
    )
