"""A command line in a process of its own."""

import os
import signal
import subprocess
import sys
import termios
import threading
from io import StringIO
from time import monotonic
from typing import Any

from pexpect.fdpexpect import fdspawn
from security_canary import refuse_secret

Result = subprocess.CompletedProcess[str]


class Running:
    """A command that stays, and what it has written so far."""

    def __init__(self, command: list[str], **options: Any) -> None:
        # A test run in the background ignores Ctrl-C, and what it starts would too.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
            )
        finally:
            signal.signal(signal.SIGINT, before)
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, text: str, timeout: float = 30) -> str:
        """Wait for a line with this text, in either stream; gives the line."""
        deadline = monotonic() + timeout
        with self._changed:
            while True:
                # Asked first: what is said last is seen all the same.
                may_say_more = any(reader.is_alive() for reader in self._readers)
                found = [line for line in (*self.out, *self.err) if text in line]
                if found:
                    return found[0]
                if not may_say_more or monotonic() > deadline:
                    raise AssertionError(f"no line with {text!r} in {self.out} and {self.err}")
                # A short wait at most: a reader lives for a moment after its last word.
                self._changed.wait(0.2)

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end; gives the exit code."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return code

    def close(self) -> None:
        """See it gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        refuse_secret("\n".join([*self.out, *self.err]), "the output of a command")


# Only its own process can take a terminal; forking here to do so would fork eventlet's hub. It hears Ctrl-C again,
# which a test run in the background ignores.
TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A command on a terminal of its own: ``screen`` is where keys are pressed and what it shows is read.

    Args:
        command: The program, by its path, and its arguments.
        ignores: The names of signals that it finds ignored, such as ``HUP``.
        options: Those of ``Popen``.
    """

    def __init__(self, command: list[str], *, ignores: str = "", **options: Any) -> None:
        if ignores:
            command = ["/bin/sh", "-c", f"trap '' {ignores}; exec \"$@\"", "sh", *command]
        master, slave = os.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            **options,
        )
        os.close(slave)
        self.screen = fdspawn(master, encoding="utf-8", timeout=30)
        self.screen.logfile_read = self._shown = StringIO()

    def close(self) -> None:
        """See it gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.screen.close()
        refuse_secret(self._shown.getvalue(), "what a terminal showed")


def unmeasured() -> dict[str, str]:
    """Give an environment in which coverage does not begin by importing eventlet."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def run_python(code: str, *options: str) -> str:
    """Run some code in a new process; gives what it prints."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=unmeasured()).stdout
