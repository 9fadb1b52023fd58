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


def test_the_exit_code_is_pytests(cli: Cli, folder: Path) -> None:
    (folder / "test_it.py").write_text("")
    assert cli("test", "-q", "-p", "no:cacheprovider", "test_it.py").returncode == 5


def test_without_pytest_it_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpcservice.cli.test.patch", lambda: None)
    monkeypatch.setitem(sys.modules, "pytest", None)
    result = CliRunner().invoke(main, ["test"])
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: rpcservice test needs pytest; install it with: pip install pytest\n",
    )
