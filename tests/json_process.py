"""JsonProcess, a child process that prints one JSON object a line, so that a test can talk to it and watch it."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self

from security_canary import refuse_secret

Line = dict[str, Any]


class JsonProcess:
    """Runs a command; usable as a context manager, at whose end the process is gone.

    Args:
        command: What to run.
        log: The file that takes its standard error; failures show the end of it.
        env: Its whole environment; None is that of this process.

    Attributes:
        lines: What it has printed so far.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.lines: list[Line] = []
        self._log = log
        self._ids = 0
        self._changed = threading.Condition()
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def _read(self) -> None:
        rest = b""
        while chunk := self._read_some():
            *whole, rest = (rest + chunk).split(b"\n")
            lines = [json.loads(raw) for raw in whole]
            with self._changed:
                self.lines.extend(lines)
                self._changed.notify_all()

    def _read_some(self) -> bytes:
        """Wait for output; nothing is its end.

        Where eventlet has patched this process, a read that waits is called off by a text, an empty one, when
        another file gets a number that eventlet takes for this one's: then it is read again.
        """
        stdout = self._process.stdout
        assert stdout is not None
        while isinstance(chunk := os.read(stdout.fileno(), 65536), str):
            pass
        return chunk

    def wait_until(self, holds: Callable[[], object], what: str, timeout: float = 20) -> Any:
        """Wait until something that depends on the lines holds; gives what ``holds`` gave."""
        deadline = monotonic() + timeout
        with self._changed:
            while not (value := holds()):
                ended = self._process.poll()
                # A short wait at most, for the process may end without a further line.
                if monotonic() > deadline or (ended is not None and not self._reader.is_alive()):
                    self._abort()
                    raise AssertionError(f"{what} did not come; exit code {ended}; its log ends:\n{self.log_tail()}")
                self._changed.wait(0.2)
        return value

    def wait_for(self, timeout: float = 20, **items: Any) -> Line:
        """Wait for the first line that has these items."""
        return self.wait_until(lambda: next(iter(self.matching(**items)), None), f"a line with {items}", timeout)

    def matching(self, **items: Any) -> list[Line]:
        """Give the lines so far that have these items."""
        return [line for line in list(self.lines) if items.items() <= line.items()]

    def _abort(self) -> None:
        """Have a process that still runs say in its log where its threads stand, if it has a faulthandler, and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(10)

    def send(self, **request: Any) -> int:
        """Write a request as a line of JSON; gives the id that its answer will have."""
        self._ids += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**request, "id": self._ids}).encode() + b"\n")
        self._process.stdin.flush()
        return self._ids

    def ask(self, timeout: float = 20, **request: Any) -> Line:
        """Send a request and wait for the line that answers it."""
        return self.wait_for(timeout, id=self.send(**request))

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 20) -> int:
        """Wait for the end and give the exit code, negative for a signal."""
        return int(self._process.wait(timeout))

    def finish(self, timeout: float = 20) -> int:
        """Close its input, which it takes for the end, and give its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.wait(timeout)

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        refuse_secret("\n".join(map(str, self.lines)), "what a process printed")
        refuse_secret(self._log.read_text(errors="replace"), "the log of a process")
