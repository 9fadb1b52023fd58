"""``rpcservice backdoor``: a terminal for the Python console within a running process."""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from select import select

import click

from rpcservice.cli.common import Command, backdoor_address

CONNECT_WAIT = 10.0
"""Seconds until a port that does not answer is given up."""

PROMPTS = (b">>> ", b"... ")

_CHUNK = 65536
_EARLY_END = "it has ended, or its service has stopped"


@click.command(cls=Command)
@click.argument("target", metavar="[HOST:]PORT")
@click.option(
    "--rlwrap/--no-rlwrap",
    "edits_lines",
    default=True,
    help="Edit lines and keep a history; the default on a terminal. The program rlwrap is not needed.",
)
def backdoor(target: str, edits_lines: bool) -> None:
    """Open the Python console of a process that runs with --backdoor-port; Ctrl-D leaves it.

    Without a terminal it sends what it reads from standard input and prints the answers. The exit code is 1
    when the process cannot be reached.

    \b
    Examples:
      rpcservice backdoor 3000
      echo 'print(runner.service_names)' | rpcservice backdoor localhost:3000
    """
    with _connect(backdoor_address(target)) as connection:
        try:
            if sys.stdin.isatty() and edits_lines:
                _Terminal(connection, _edited_line()).run()
            else:
                _forward(connection)
        except OSError as exc:
            raise click.ClickException(f"the process has closed the backdoor: {exc.strerror or exc}") from exc


def _connect(address: str) -> socket.socket:
    from rpcservice.kinds import parse_address

    try:
        connection = socket.create_connection(parse_address(address), CONNECT_WAIT)
    except OSError as exc:
        raise click.ClickException(
            f"no backdoor can be reached on {address}: {exc.strerror or exc}; "
            "is the process running, with --backdoor-port and this port?"
        ) from exc
    connection.settimeout(None)
    return connection


def _forward(connection: socket.socket) -> None:
    """Send standard input and print the answers, until both have ended."""
    sources: list[socket.socket | int] = [connection, sys.stdin.fileno()]
    while True:
        for ready in select(sources, [], [])[0]:
            if ready is not connection:
                if not _send_input(connection):
                    # Half of the connection is closed: the console ends when it has read everything.
                    sources = [connection]
                    connection.shutdown(socket.SHUT_WR)
            elif not (received := _receive(connection)):
                if len(sources) == 2:
                    raise ConnectionResetError(_EARLY_END)
                return
            else:
                _show(received)


def _send_input(connection: socket.socket) -> bool:
    """Send what can be read of standard input; gives False at its end."""
    data = os.read(sys.stdin.fileno(), _CHUNK)
    connection.sendall(data)
    return bool(data)


def _receive(connection: socket.socket) -> bytes:
    """Give what has come, nothing when the other side has closed the connection, in whatever way."""
    try:
        return connection.recv(_CHUNK)
    except ConnectionError:
        return b""


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _edited_line() -> Callable[[str], str]:
    """Give ``input``, which edits lines where Python has readline."""
    with suppress(ImportError):
        import readline  # noqa: F401  # input() uses it once it is imported
    return input


class _Terminal:
    """Prints what comes, and asks for a line whenever the console does.

    Args:
        connection: To the console.
        ask: Reads a line with a prompt; raises EOFError when the user leaves.
    """

    def __init__(self, connection: socket.socket, ask: Callable[[str], str]) -> None:
        self._connection = connection
        self._ask = ask

    def run(self) -> None:
        """Go on until the user leaves.

        Raises:
            ConnectionError: The process closed the connection.
        """
        with suppress(EOFError, KeyboardInterrupt):
            while True:
                prompt = self._wait_for_prompt()
                self._connection.sendall(f"{self._ask(prompt)}\n".encode())
        click.echo()

    def _wait_for_prompt(self) -> str:
        """Print until the console asks for a line; gives its prompt.

        What it runs may ask too, by prompts that nobody here knows. So a line that is typed meanwhile is sent.
        """
        held = b""  # may become a prompt, which is for ask() to print
        while True:
            if self._connection not in select([self._connection, sys.stdin], [], [])[0]:
                if not _send_input(self._connection):
                    raise EOFError
                continue
            received = _receive(self._connection)
            if not received:
                raise ConnectionResetError(_EARLY_END)
            head, newline, held = (held + received).rpartition(b"\n")
            _show(head + newline)
            if held in PROMPTS:
                return held.decode()
            if not any(prompt.startswith(held) for prompt in PROMPTS):
                _show(held)
                held = b""
