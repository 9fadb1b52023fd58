"""nameko's command line, and what commands of others take from it."""

import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from under_nameko import standing_in

with standing_in():
    import nameko
    from nameko.cli import cli
    from nameko.cli.click_arguments import argument_services
    from nameko.cli.click_options import (
        option_backdoor_port,
        option_broker,
        option_config_file,
        option_define,
        option_interface,
    )
    from nameko.cli.click_paramtypes import HOST_PORT, KEY_VAL
    from nameko.cli.run import import_service
    from nameko.cli.shell import make_nameko_helper
    from nameko.cli.utils import import_services, load_config, setup_config
    from nameko.exceptions import CommandError, ConfigurationError, MethodNotFound, UnknownService
    from nameko.rpc import rpc
    from nameko.runners import run_services

SERVICE = """
from nameko.timer import timer


class Clock:
    name = "clock"

    @timer(interval=60, eager=True)
    def tick(self):
        print("tick", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a service."""
    (tmp_path / "clocks.py").write_text(SERVICE)
    (tmp_path / "config.yaml").write_text("AMQP_URI: ${BROKER:memory://}\nMINE: ${MINE:3}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def start(*command: str) -> "subprocess.Popen[str]":
    """Start a process; gives it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean
    )


def run(*command: str) -> tuple[int, str]:
    """Run a process to its end; gives its exit code and what it printed."""
    process = start(*command)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


MODULE = ("-m", "rpcservice.compat.nameko")
INSTALL = "import rpcservice.compat.nameko as compat\ncompat.install()\n"


def test_the_module_runs_services_until_it_is_told_to_stop(folder: Path) -> None:
    """As ``python -m nameko run``."""
    process = start(*MODULE, "run", "clocks", "--config", "config.yaml")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(line == "tick\n" for line in lines)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_function_of_nameko_2_is_the_whole_command_line(folder: Path) -> None:
    """Debuggers and containers start services by it."""
    code = f"{INSTALL}import sys\nfrom nameko.cli.main import main\nsys.argv = ['nameko', *sys.argv[1:]]\nmain()"
    code_of, output = run("-c", code, "show-config", "--config", "config.yaml")
    assert code_of == 0
    assert {"AMQP_URI: memory://", "MINE: 3"} <= set(output.splitlines())
    code_of, output = run("-c", code, "run", "nothing_there")
    assert code_of == 2
    assert "there is no module 'nothing_there' here" in output


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_the_version_is_told(flag: str) -> None:
    result = CliRunner().invoke(cli, [flag])
    assert result.output == f"nameko, version {nameko.__version__}\n"


def test_its_commands_are_those_of_nameko() -> None:
    """Ours for calls and events are not among them."""
    assert sorted(cli.commands) == ["backdoor", "run", "shell", "show-config", "test"]


def test_the_exit_code_of_tests_is_pytest_s(folder: Path) -> None:
    """With nameko's fixtures."""
    (folder / "test_it.py").write_text("def test_it(empty_config):\n    assert empty_config == {'a': 1}\n")
    code, output = run(*MODULE, "test", "-q", "-p", "no:cacheprovider")
    assert code == 1
    assert "assert {} == {'a': 1}" in output


def test_services_are_run_by_a_function(folder: Path) -> None:
    """With classes and a configuration, as in nameko 2; and by their names, with the global one, as in nameko 3."""
    code = f"""{INSTALL}
import eventlet; eventlet.monkey_patch()
import os, signal, sys
from nameko import config
from nameko.cli.run import import_service, run
def stop(after):
    eventlet.spawn_after(after, os.kill, os.getpid(), signal.SIGTERM)
stop(0.3)
run(import_service("clocks:Clock"), {{"AMQP_URI": "memory://"}})
config.setup({{"AMQP_URI": "memory://"}})
stop(0.3)
run(["clocks"], backdoor_port=("localhost", 0))
print("ended")
"""
    code_of, output = run("-W", "ignore", "-c", code)
    assert [line for line in output.splitlines() if line in ("tick", "ended")] == ["tick", "tick", "ended"]
    assert code_of == 0


def test_services_are_found_by_their_names(folder: Path) -> None:
    with standing_in():
        (found,) = import_services("clocks")
    assert (found.__name__, import_service("clocks:Clock")) == ("Clock", [found])
    with pytest.raises(ValueError, match="there is no module 'nothing' here"):
        import_services("nothing")
    with pytest.raises(CommandError, match="module 'clocks' has no 'Watch'"):
        import_service("clocks:Watch")
    del sys.modules["clocks"]


class Echo:
    """Answers with what it was given."""

    name = "echo"

    @rpc
    def say(self, word: str) -> str:
        return word


def test_the_shell_raises_errors_that_code_for_nameko_catches() -> None:
    """With nameko's texts."""
    broker = {"AMQP_URI": "memory://errors-of-the-shell/"}
    with standing_in(), run_services(broker, Echo, kill_on_exit=True):
        n = make_nameko_helper(broker)
        with pytest.raises(MethodNotFound, match=r"^absent$"):
            n.rpc.echo.absent()
        with pytest.raises(UnknownService, match=r"^Unknown service `nobody`$"):
            n.rpc.nobody.answers()
        n.disconnect()


def test_the_helper_of_the_shell_calls_services() -> None:
    """With a configuration, or the global one."""
    broker = {"AMQP_URI": "memory://helper-of-the-shell/"}
    with run_services(broker, Echo, kill_on_exit=True), nameko.config.patch(broker, clear=True):
        for n in (make_nameko_helper(broker), make_nameko_helper()):
            assert n.rpc.echo.say("hello") == "hello"
            n.disconnect()


def test_options_are_there_for_commands_of_others(folder: Path) -> None:
    seen: list[Any] = []

    @click.command()
    @option_broker()
    @option_backdoor_port()
    @option_config_file()
    @option_define()
    @option_interface()
    @argument_services()
    def command(**values: Any) -> None:
        seen.append({**values, "config_file": values["config_file"].read()})

    arguments = [
        "--broker",
        "b",
        "--backdoor-port",
        "h:3000",
        "-c",
        "config.yaml",
        "-d",
        "A=[1]",
        "-d",
        "B",
        "--interface",
        "plain",
        "x",
        "y",
    ]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert seen == [
        {
            "broker": "b",
            "backdoor_port": ("h", 3000),
            "config_file": (folder / "config.yaml").read_bytes(),
            "define": {"A": [1], "B": True},
            "interface": "plain",
            "services": ("x", "y"),
        }
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3000", ("localhost", 3000)), ("host:1", ("host", 1)), ("::1:5", ("::1", 5)), (("h", 1), ("h", 1))],
)
def test_an_address_has_a_host_or_not(text: Any, value: Any) -> None:
    assert HOST_PORT.convert(text, None, None) == value


def test_a_wrong_port_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="http is not a valid port number"):
        HOST_PORT.convert("host:http", None, None)


@pytest.mark.parametrize(
    ("text", "value"), [("K=1", ("K", 1)), ("K", ("K", True)), (" K = a=b", ("K", "a=b")), (("K", 1), ("K", 1))]
)
def test_a_definition_has_a_yaml_value_or_none(text: Any, value: Any) -> None:
    assert KEY_VAL.convert(text, None, None) == value


def test_a_definition_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="K, line 1"):
        KEY_VAL.convert("K=[", None, None)


def test_a_configuration_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then what is defined; the broker for where there is none."""
    monkeypatch.setenv("WORD", "hello")
    with nameko.config.patch({}, clear=True):
        found = setup_config(BytesIO(b"GREETING: ${WORD}\nX: 1\n"), {"X": 2})
        assert found is nameko.config
        assert dict(found) == {"GREETING": "hello", "X": 2}
        with pytest.warns(DeprecationWarning, match="broker is deprecated"):
            assert setup_config(None, None, "memory://")["AMQP_URI"] == "memory://"
        with pytest.warns(DeprecationWarning, match="broker is deprecated"):
            assert setup_config(None, broker="amqp://other")["AMQP_URI"] == "memory://"
    with pytest.raises(ConfigurationError, match="config, line 2"):
        load_config(BytesIO(b"a: [\n"))


def test_yaml_s_own_loader_learns_variables() -> None:
    """In the whole process, as nameko teaches it."""
    code = f"""{INSTALL}
import os, yaml
from nameko.cli.main import setup_yaml_parser
os.environ["N"] = "5"
setup_yaml_parser()
print(yaml.safe_load('a: ${{N}}\\nb: ${{X:d}}\\nc: !raw_env_var "${{N}}"\\nd: "${{N}}"\\ne: ${{ N }}'))
"""
    assert run("-c", code) == (0, "{'a': 5, 'b': 'd', 'c': '5', 'd': '${N}', 'e': '${ N }'}\n")
