"""Child processes that report JSON lines on their standard output, and what Linux knows about them."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CLOCK_TICK = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"


class ChildFailed(Exception):
    """Raised when a child process ended, or did not report in time; the message holds the end of its log."""


class Child:
    """One process whose lines of JSON are reports; all else that it writes goes to its log.

    Args:
        command: The program and its arguments.
        log: The file for its standard error.
        env: Variables to add to the environment.
        cwd: Its working directory.
    """

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        self.started = time.perf_counter()
        with open(log, "ab") as errors:
            # A session of its own, so that Ctrl-C reaches the harness alone, which then stops its children.
            self._process = subprocess.Popen(
                list(command),
                env={**os.environ, **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._reports: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def report(self, mark: str, limit: float) -> dict[str, Any]:
        """Wait for its next report of that mark; others are passed over.

        Raises:
            ChildFailed: It ended or did not report within the limit.
        """
        deadline = time.monotonic() + limit
        while True:
            try:
                report = self._reports.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ChildFailed(f"no {mark!r} within {limit:g} s; {self.log_tail()}") from None
            if report is None:
                raise ChildFailed(f"ended with {self._process.wait()} before {mark!r}; {self.log_tail()}")
            if report["mark"] == "error":
                raise ChildFailed(report["error"])
            if report["mark"] == mark:
                return report

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self.is_running:
            self._process.send_signal(number)

    def stop(self, limit: float = 5) -> float | None:
        """Ask it to stop and wait; gives the seconds that it took, or None when it had to be killed."""
        begun = time.perf_counter()
        self.send_signal(signal.SIGTERM)
        try:
            self._process.wait(limit)
            taken: float | None = time.perf_counter() - begun
        except subprocess.TimeoutExpired:
            taken = None
            self._process.kill()
            self._process.wait()
        self._reader.join(1)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return taken

    def log_tail(self, lines: int = 8) -> str:
        """Give the end of its log."""
        written = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n    ".join([f"its log {self.log} ends:", *written])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                report = json.loads(line)
            except ValueError:
                continue
            if isinstance(report, dict) and "mark" in report:
                self._reports.put(report)
        self._reports.put(None)


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICK


def rss_megabytes(pid: int) -> float:
    """Give the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ChildFailed(f"process {pid} has ended")


def connections_to(pid: int, port: int) -> int:
    """Count the TCP connections that a process holds open to a port."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # closed since the folder was read
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    rows = []
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        if path.exists():
            rows += [line.split() for line in path.read_text().splitlines()[1:]]
    return sum(
        1 for row in rows if row[9] in sockets and row[3] == _ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port
    )
