"""The backdoor from end to end: a service that runs with one, and the command that opens it."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from command_process import Result, Running, Terminal

from rpcservice.cli.common import backdoor_address
from rpcservice.errors import CommandError

Start = Callable[..., Running]
Enter = Callable[..., Result]


@pytest.fixture
def service(start: Start) -> Running:
    """A service with a backdoor."""
    running = start("run", "hello.py:Greeter", "--broker", "memory://", "--backdoor-port", "0")
    running.wait_for("Ctrl-C stops.")
    return running


@pytest.fixture
def address(service: Running) -> str:
    """Where its backdoor is, as the service tells it."""
    return service.wait_for("Backdoor: ").removeprefix("Backdoor: rpcservice backdoor ")


@pytest.fixture
def enter(address: str, cli: Callable[..., Result]) -> Enter:
    """Send some lines through the backdoor, and read to the end."""
    return lambda *lines: cli("backdoor", address, input="".join(f"{line}\n" for line in lines))


@contextmanager
def console_that(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Stand in for the console of a process; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


# What the console can do


def test_the_console_knows_the_runner_its_services_and_the_settings(enter: Enter) -> None:
    result = enter("runner.service_names", "services['greeter'].service_cls.name", "config.amqp_uri")
    assert result.returncode == 0
    assert result.stdout.count(">>> ") == 4
    assert ">>> ['greeter']\n>>> 'greeter'\n>>> 'memory://'\n" in result.stdout


def test_the_banner_says_what_it_knows_and_how_to_leave(enter: Enter) -> None:
    banner = enter().stdout.splitlines()[0]
    assert banner.endswith("it knows: runner, services, config. Ctrl-D leaves.")


def test_what_it_prints_goes_to_the_client_alone(enter: Enter, service: Running) -> None:
    assert "here" in enter("print('he' + 're')", "import time; time.sleep(0.01)", "print('again')").stdout
    assert "here" not in "".join(service.out + service.err)


def test_it_reads_what_a_program_asks_for(enter: Enter) -> None:
    assert "'Tom'" in enter("name = input('Your name? ')", "Tom", "name").stdout


@pytest.mark.parametrize("line", ["quit()", "exit()", "exit(3)"])
def test_quit_raises_and_says_how_to_leave(line: str, enter: Enter) -> None:
    assert "RuntimeError: this would end the service, not the backdoor; Ctrl-D leaves" in enter(line).stdout
    assert "42" in enter("6 * 7").stdout


@pytest.mark.parametrize("line", ["quit", "import sys; sys.exit(3)", "raise SystemExit"])
def test_nothing_else_ends_the_process_either(line: str, enter: Enter) -> None:
    result = enter(line, "6 * 7")
    assert "this would end the service, not the backdoor; Ctrl-D leaves the backdoor\n>>> 42" in result.stdout


def test_a_client_that_breaks_off_leaves_the_backdoor_open(enter: Enter, address: str, service: Running) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.recv(1000)
        # Closing with this option sends a reset instead of an end.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    service.wait_for("a client of the backdoor has left")
    assert "42" in enter("6 * 7").stdout


def test_two_clients_have_names_of_their_own(address: str, enter: Enter) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as other:
        other.sendall(b"mine = 1\nmine + 41\n")
        seen = b""
        while b"42" not in seen:
            seen += other.recv(1000)
        assert "NameError: name 'mine' is not defined" in enter("mine").stdout


def test_the_services_can_be_stopped_from_within(enter: Enter, service: Running) -> None:
    enter("runner.stop()")
    assert service.wait() == 0


def test_a_stop_of_the_services_closes_the_console(service: Running, address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.recv(1000)
        service.process.send_signal(signal.SIGTERM)
        while client.recv(1000):
            pass
    assert service.wait() == 0


# Where it listens


def test_a_host_that_others_reach_is_warned_of(start: Start) -> None:
    running = start("run", "hello.py:Greeter", "--broker", "memory://", "--backdoor-port", "0.0.0.0:0")
    running.wait_for("Ctrl-C stops.")
    assert running.wait_for("Backdoor: ").startswith("Backdoor: rpcservice backdoor 0.0.0.0:")
    assert " WARNING " in running.wait_for("whoever reaches it may run any code in this process")


def test_localhost_is_not_warned_of(service: Running) -> None:
    assert not [line for line in service.err if "WARNING" in line]


def test_a_port_in_use_is_a_clear_error(cli: Callable[..., Result]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = cli("run", "hello.py:Greeter", "--broker", "memory://", "--backdoor-port", address)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: --backdoor-port is '{address}': the port is in use;")
    assert len(result.stderr.splitlines()) == 1


def test_what_is_no_port_is_a_mistake_in_what_was_asked(cli: Callable[..., Result]) -> None:
    result = cli("run", "hello.py:Greeter", "--broker", "memory://", "--backdoor-port", "eighty")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: 'localhost:eighty' is no address;")


@pytest.mark.parametrize(("text", "address"), [("3000", "localhost:3000"), ("[::1]:1", "[::1]:1"), ("h:2", "h:2")])
def test_a_port_alone_is_on_localhost(text: str, address: str) -> None:
    assert backdoor_address(text) == address


@pytest.mark.parametrize("text", ["eighty", "h:", "h:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is no address; give host:port or port"):
        backdoor_address(text)


# The command


def test_a_port_where_nobody_listens_is_exit_code_1(cli: Callable[..., Result]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        result = cli("backdoor", f"127.0.0.1:{port}")
    assert (result.returncode, result.stderr) == (
        1,
        f"Error: no backdoor can be reached on 127.0.0.1:{port}: Connection refused; "
        "is the process running, with --backdoor-port and this port?\n",
    )


def test_a_process_that_ends_meanwhile_is_exit_code_1() -> None:
    command = [sys.executable, "-m", "rpcservice", "backdoor"]
    with console_that(lambda connection: connection.sendall(b">>> ")) as address:
        client = subprocess.Popen(
            [*command, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # Its input stays open: the user is about to type.
        assert client.wait(30) == 1
        out, err = client.communicate()
    assert out == ">>> "
    assert err == "Error: the process has closed the backdoor: it has ended, or its service has stopped\n"


# On a terminal


@pytest.fixture
def terminal(address: str, open_terminal: Callable[..., Terminal]) -> Terminal:
    """The command on a terminal, with the first prompt."""
    opened = open_terminal("backdoor", address)
    opened.screen.expect_exact(">>> ")
    return opened


def test_a_terminal_has_a_history(terminal: Terminal) -> None:
    terminal.screen.sendline("20 + 22")
    terminal.screen.expect_exact("42\r\n")
    terminal.screen.expect_exact(">>> ")
    terminal.screen.send("\x10")  # Ctrl-P, the line before
    terminal.screen.expect_exact("20 + 22")
    terminal.screen.sendline("0")
    terminal.screen.expect_exact("240\r\n")


def test_without_line_editing_it_is_as_bare_as_netcat(address: str, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("backdoor", address, "--no-rlwrap")
    terminal.screen.expect_exact(">>> ")
    terminal.screen.sendline("20 + 22")
    terminal.screen.expect_exact("42\r\n>>> ")
    terminal.screen.send("\x04")
    assert terminal.process.wait(30) == 0


def test_a_terminal_takes_several_lines_and_foreign_prompts(terminal: Terminal) -> None:
    terminal.screen.sendline("for letter in input('Let' + 'ters? '):")
    terminal.screen.expect_exact("... ")
    terminal.screen.sendline("  print(letter * 3)")
    terminal.screen.expect_exact("... ")
    terminal.screen.sendline("")
    terminal.screen.expect_exact("Letters? ")
    terminal.screen.sendline("ab")
    terminal.screen.expect_exact("aaa\r\nbbb\r\n")
    terminal.screen.expect_exact(">>> ")


@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_keys_leave_and_the_service_goes_on(key: str, terminal: Terminal, enter: Enter) -> None:
    terminal.screen.send(key)
    assert terminal.process.wait(30) == 0
    assert "42" in enter("6 * 7").stdout


def test_ctrl_c_leaves_while_something_runs_there(terminal: Terminal) -> None:
    terminal.screen.sendline("import time; print('be' + 'gun'); time.sleep(60)")
    terminal.screen.expect_exact("begun")
    terminal.screen.send("\x03")
    assert terminal.process.wait(30) == 0


def test_a_terminal_is_told_of_the_end_of_the_process(terminal: Terminal, service: Running) -> None:
    terminal.screen.sendline("import os; os._exit(0)")
    terminal.screen.expect_exact("Error: the process has closed the backdoor")
    assert terminal.process.wait(30) == 1
    assert service.wait() == 0
