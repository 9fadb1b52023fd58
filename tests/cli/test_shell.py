"""The shell: as a script, and on a terminal in all its looks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import CliRunner
from command_process import Result, Running, Terminal

from rpcservice.cli import main
from rpcservice.errors import MissingExtra

pytestmark = pytest.mark.broker

Cli = Callable[..., Result]
Open = Callable[..., Terminal]

LISTENER = """
from rpcservice import event_handler

class Listener:
    name = "listener"

    @event_handler("payments", "paid")
    def hear(self, payload):
        print("heard", payload, flush=True)
"""
RUDE = """
from rpcservice import rpc

class Rude:
    name = "rude"

    @rpc
    def attack(self):
        raise ValueError("\\x1b]0;owned\\x07")
"""


@pytest.fixture
def service(start: Callable[..., Running], folder: Path, rabbitmq_uri: str) -> Running:
    """Services to talk with."""
    (folder / "listener.py").write_text(LISTENER)
    running = start("run", "hello.py:Greeter", "listener.py", "--broker", rabbitmq_uri)
    running.wait_for("Ctrl-C stops.")
    return running


# Without a terminal


def test_a_script_calls_and_dispatches(cli: Cli, service: Running, rabbitmq_uri: str) -> None:
    script = 'n.rpc.greeter.hello("world")\nn.dispatch_event("payments", "paid", {"order": 7})\n'
    result = cli("shell", "--broker", rabbitmq_uri, input=script)
    assert (result.returncode, result.stdout, result.stderr) == (0, "'Hello, world!'\n", "")
    assert service.wait_for("heard") == "heard {'order': 7}"


def test_nothing_is_patched_and_eventlet_is_not_loaded(cli: Cli, rabbitmq_uri: str) -> None:
    result = cli("shell", "--broker", rabbitmq_uri, input="import sys\n'eventlet' in sys.modules\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "False\n", "")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("n.rpc.greeter.fail()", "RemoteError: ValueError no luck"),
        ("n.rpc.nobody.calls()", "UnknownService: the broker knows no service named 'nobody'"),
        ("print(", "Error: standard input ends within a statement"),
        ("a b", "SyntaxError: invalid syntax"),
    ],
)
def test_the_first_exception_ends_a_script(line: str, text: str, cli: Cli, service: Running, rabbitmq_uri: str) -> None:
    lines = ["print('before')", line] if line == "print(" else ["print('before')", line, "print('after')"]
    result = cli("shell", "--broker", rabbitmq_uri, input="\n".join(lines))
    assert (result.returncode, result.stdout) == (1, "before\n")
    assert text in result.stderr


def test_an_error_of_a_service_does_nothing_to_a_terminal(
    cli: Cli, start: Callable[..., Running], folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "rude.py").write_text(RUDE)
    start("run", "rude.py", "--broker", rabbitmq_uri).wait_for("Ctrl-C stops.")
    result = cli("shell", "--broker", rabbitmq_uri, input="n.rpc.rude.attack()\n")
    assert result.stderr.endswith("RemoteError: ValueError \\x1b]0;owned\\x07\n")
    assert "\x1b" not in result.stderr


def test_a_script_ends_with_the_code_that_it_exits_with(cli: Cli, rabbitmq_uri: str) -> None:
    assert cli("shell", "--broker", rabbitmq_uri, input="import sys; sys.exit(7)\n").returncode == 7


def test_the_end_of_a_script_ends_its_last_block(cli: Cli, rabbitmq_uri: str) -> None:
    result = cli("shell", "--broker", rabbitmq_uri, input="for i in range(2):\n    print(i)")
    assert (result.returncode, result.stdout) == (0, "0\n1\n")


def test_calls_fail_once_it_is_disconnected(cli: Cli, service: Running, rabbitmq_uri: str) -> None:
    result = cli("shell", "--broker", rabbitmq_uri, input="n.disconnect()\nn.rpc.greeter.hello('x')\n")
    assert result.returncode == 1
    assert "ConnectionLost: nothing was sent: this client has been stopped" in result.stderr


def test_it_has_the_configuration(cli: Cli, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "my.yaml").write_text("AMQP_URI: ${BROKER}\nmine: [1]\n")
    script = "n.config['mine'], n.config['more'], n.config['AMQP_URI'] == n.config['broker']\n"
    result = cli(
        "shell", "-c", "my.yaml", "-d", "more", "-d", f"broker={rabbitmq_uri}", input=script, BROKER=rabbitmq_uri
    )
    assert (result.stdout, result.stderr) == ("([1], True, True)\n", "")


def test_it_runs_the_startup_file(cli: Cli, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "startup.py").write_text("greeting = 'hi ' + type(n).__name__\n")
    result = cli("shell", "--broker", rabbitmq_uri, input="greeting\n", PYTHONSTARTUP=str(folder / "startup.py"))
    assert (result.stdout, result.stderr) == ("'hi Toolbox'\n", "")


def test_a_startup_file_that_raises_ends_a_script(cli: Cli, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "startup.py").write_text("1 / 0\n")
    result = cli("shell", "--broker", rabbitmq_uri, input="1\n", PYTHONSTARTUP=str(folder / "startup.py"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "ZeroDivisionError" in result.stderr


def test_it_stands_in_for_nameko(cli: Cli, service: Running, rabbitmq_uri: str) -> None:
    script = "from nameko import config\nconfig is n.config, n.rpc.greeter.hello('you')\n"
    result = cli("shell", "--nameko", "--broker", rabbitmq_uri, input=script)
    assert (result.stdout, result.stderr) == ("(True, 'Hello, you!')\n", "")


# Mistakes


def test_a_broker_that_is_not_there_is_exit_code_1(cli: Cli) -> None:
    result = cli("shell", "--broker", "amqp://me:secret@127.0.0.1:1", "-d", "startup_timeout=0.2", input="print(1)\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "secret" not in result.stderr


def test_the_embedded_broker_reaches_nobody(cli: Cli) -> None:
    result = cli("shell", "--broker", "memory://")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: the embedded broker (memory://) reaches no other process; give --broker")


@pytest.mark.parametrize(("interface", "module"), [("ipython", "IPython"), ("bpython", "bpython")])
def test_a_shell_that_is_not_installed_is_a_clear_error(
    interface: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rpcservice.cli.shell import _find_shell

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=f"--interface {interface} needs {interface}; install it with: pip install"):
        _find_shell(interface)


def test_without_others_the_shell_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from rpcservice.cli.shell import _find_shell, _interact

    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "bpython", None)
    assert _find_shell(None) is _interact


def test_an_unknown_interface_is_refused() -> None:
    result = CliRunner().invoke(main, ["shell", "--interface", "zsh"])
    assert result.exit_code == 2
    assert "'zsh' is not one of 'bpython', 'ipython', 'plain'" in result.stderr


# On a terminal


def test_the_plain_shell_completes_and_hides_the_password(
    open_terminal: Open, service: Running, rabbitmq_uri: str
) -> None:
    terminal = open_terminal("shell", "--interface", "plain", "--broker", rabbitmq_uri)
    terminal.screen.expect(r"Broker: amqp://\w+:\*\*\*@")
    terminal.screen.expect_exact(">>> ")
    terminal.screen.send("n.disp\t")
    terminal.screen.expect_exact("n.dispatch_event(")
    terminal.screen.sendline("'payments', 'paid', 3)")
    service.wait_for("heard 3")
    terminal.screen.expect_exact(">>> ")
    terminal.screen.sendline("1 / 0")
    terminal.screen.expect_exact("ZeroDivisionError")
    terminal.screen.sendline("n.rpc.greeter.hello('world')")
    terminal.screen.expect_exact("'Hello, world!'")
    terminal.screen.send("\x04")
    assert terminal.process.wait(30) == 0


def test_a_startup_file_that_raises_leaves_a_terminal_open(
    open_terminal: Open, folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "startup.py").write_text("1 / 0\n")
    terminal = open_terminal(
        "shell", "--interface", "plain", "--broker", rabbitmq_uri, PYTHONSTARTUP=str(folder / "startup.py")
    )
    terminal.screen.expect_exact("ZeroDivisionError")
    terminal.screen.expect_exact(">>> ")


def test_ipython(open_terminal: Open, service: Running, folder: Path, rabbitmq_uri: str) -> None:
    terminal = open_terminal(
        "shell", "--interface", "ipython", "--broker", rabbitmq_uri, HOME=str(folder), PYTHONWARNINGS=""
    )
    terminal.screen.expect_exact(":***@")
    terminal.screen.expect_exact("In [1]: ")
    terminal.screen.sendline("n.rpc.greeter.hello('world') + ' ' + type(get_ipython()).__mro__[-2].__name__\r")
    terminal.screen.expect_exact("Hello, world!")
    # Keys that come before the prompt are thrown away when it takes the terminal.
    terminal.screen.expect_exact("In [2]: ")
    terminal.screen.sendline("exit\r")
    assert terminal.process.wait(60) == 0


def expect_answering(screen: Any, text: str) -> None:
    """Wait for a text, and tell where the cursor is whenever the program asks, as a real terminal does."""
    while screen.expect_exact(["\x1b[6n", text]) == 0:
        screen.send("\x1b[1;1R")


def test_bpython_is_the_first_choice(open_terminal: Open, service: Running, folder: Path, rabbitmq_uri: str) -> None:
    terminal = open_terminal("shell", "--broker", rabbitmq_uri, HOME=str(folder), PYTHONWARNINGS="", TERM="xterm")
    expect_answering(terminal.screen, ">>> ")
    terminal.screen.send("print(n.rpc.greeter.hello('world').upper())\n")
    expect_answering(terminal.screen, "HELLO, WORLD!")
    terminal.screen.send("\x04")
    expect_answering(terminal.screen, pexpect.EOF)
    assert terminal.process.wait(30) == 0
