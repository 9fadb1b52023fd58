import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_process import Result, run_python

import rpcservice
from rpcservice.cli import main

COMMANDS = ("run", "call", "emit", "dead-letters", "shell", "backdoor", "show-config", "test", "migrate")


@pytest.fixture
def click() -> CliRunner:
    return CliRunner()


def test_the_commands_are_these() -> None:
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, click: CliRunner) -> None:
    result = click.invoke(main, [command, "--help"], prog_name="rpcservice")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"rpcservice {command}" in result.output.partition("Example")[2]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_commands(flag: str, click: CliRunner) -> None:
    result = click.invoke(main, [flag])
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


def test_no_command_shows_the_help_and_is_a_mistake(click: CliRunner) -> None:
    result = click.invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_version(click: CliRunner) -> None:
    assert click.invoke(main, ["--version"]).output == f"rpcservice {rpcservice.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rum"], "No such command 'rum'."),
        (["run", "--nope"], "--nope"),
        (["run", "-c", "none.yaml"], "File 'none.yaml' does not exist."),
        (["run", "-d", "=3"], "'=3' has no key; give KEY=VALUE"),
        (["call"], "Missing argument 'SERVICE.METHOD'."),
        (["call", "place"], "'place' is no method; give SERVICE.METHOD"),
        (["call", "a.b", "[1"], "argument '[1' is no JSON"),
        (["call", "a.b", "1"], "argument '1' is no list, or one too many"),
        (["call", "a.b", "[1]", "[2]"], "argument '[2]' is no list, or one too many"),
        (["call", "a.b", "[]", "{}", "[]"], "3 arguments; give a JSON list"),
        (["call", "a.b", "--timeout", "0"], "0.0 is not in the range"),
        (["emit", "orders"], "Missing argument 'EVENT'."),
        (["emit", "orders", "placed", "{a"], "payload '{a' is no JSON"),
        (["show-config", "-d", "a=b: c: d"], "--define a, line 1: mapping values are not allowed here"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(args: list[str], message: str, click: CliRunner) -> None:
    result = click.invoke(main, args, prog_name="rpcservice")
    assert result.exit_code == 2
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: ") and message in error
    assert hint.startswith("Try: rpcservice") and hint.endswith("--help")


def test_a_wrong_setting_is_one_line_and_exit_code_2(click: CliRunner) -> None:
    result = click.invoke(main, ["show-config", "-d", "max_workers=0"])
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: command line: max_workers is 0; give a whole number from 1 on\n",
    )


def test_debug_shows_the_traceback_too(click: CliRunner) -> None:
    result = click.invoke(main, ["show-config", "-d", "max_workers=0", "--debug"])
    assert result.exit_code == 2
    assert "Traceback (most recent call last):" in result.stderr
    assert result.stderr.endswith("give a whole number from 1 on\n")


def test_an_unforeseen_error_is_one_line_with_its_place(click: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("rpcservice.config.load_config", fail)
    result = click.invoke(main, ["show-config"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ZeroDivisionError: division by zero (")
    assert result.stderr.endswith("; --debug shows the traceback\n")


def test_a_stop_by_the_user_says_so(click: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rpcservice.config.load_config", interrupt)
    result = click.invoke(main, ["show-config"])
    assert (result.exit_code, result.stderr.strip()) == (1, "Stopped.")


def test_the_group_can_be_used_by_others(click: CliRunner) -> None:
    """standalone_mode=False gives errors to the caller, as with any click command."""
    result = click.invoke(main, ["rum"], standalone_mode=False)
    assert "No such command" in str(result.exception)


def test_the_module_runs_as_a_program(cli: Callable[..., Result]) -> None:
    assert cli("--version").stdout == f"rpcservice {rpcservice.__version__}\n"


def test_the_script_is_installed() -> None:
    script = Path(sys.executable).with_name("rpcservice")
    output = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert output == f"rpcservice {rpcservice.__version__}\n"


def modules_after(statement: str) -> set[str]:
    """Give what is loaded in a new process after a statement."""
    return set(json.loads(run_python(f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")))


HEAVY = {"eventlet", "greenlet", "kombu", "amqp", "werkzeug", "yaml"}


@pytest.mark.parametrize("statement", ["import rpcservice", "import rpcservice.cli", "import rpcservice.cli.main"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not modules_after(statement) & HEAVY


def test_the_command_line_imports_click_and_the_standard_library_alone() -> None:
    names = {name.partition(".")[0] for name in modules_after("import rpcservice.cli")}
    names -= {name.partition(".")[0] for name in modules_after("import click, rpcservice")}
    assert names <= set(sys.stdlib_module_names)


def test_the_public_names_patch_nothing() -> None:
    run_python(
        "import socket, threading\nbefore = socket.socket, threading.Thread, threading.Event\n"
        "from rpcservice import rpc, http, timer, event_handler, ServiceRunner\n"
        "assert before == (socket.socket, threading.Thread, threading.Event)\n"
        "import sys\npatcher = sys.modules.get('eventlet.patcher')\n"
        "assert patcher is None or not patcher.is_monkey_patched('socket')\n",
        "-W",
        "ignore",
    )


def test_patching_silences_eventlets_deprecation_and_nothing_else() -> None:
    run_python("from rpcservice.cli.patching import patch\npatch()", "-W", "error")
    run_python(
        "import warnings\nfrom rpcservice.cli.patching import patch\npatch()\n"
        "try:\n    warnings.warn('other', DeprecationWarning)\nexcept DeprecationWarning:\n    pass\n"
        "else:\n    raise SystemExit(1)\n",
        "-W",
        "error",
    )
