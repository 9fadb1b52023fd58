"""Services for ``rpcservice run`` of which one blocks the process; what it does is noted in the file JOURNAL names."""

import os
import time
from pathlib import Path

from eventlet.patcher import original

from rpcservice import Offload, rpc

JOURNAL = Path(os.environ["JOURNAL"])


def note(text: str) -> int:
    """Add a line with the time; gives how many there are with this text."""
    with JOURNAL.open("a") as journal:
        journal.write(f"{text} {time.monotonic()}\n")
    return sum(line.startswith(text) for line in JOURNAL.read_text().splitlines())


def never_yield(seconds: float) -> None:
    """Keep the thread, as code in C does that waits for something."""
    original("time").sleep(seconds)


class Blocker:
    name = "blocker"
    offload = Offload()
    compute = Offload(processes=1)

    @rpc
    def block(self, seconds: float) -> int:
        """Block the loop in the first run; gives the number of the run."""
        run = note("begin")
        if run == 1:
            never_yield(seconds)
        note("end")
        return run

    @rpc
    def block_thread(self, seconds: float) -> int:
        """Do the same work in a thread."""
        run = note("begin")
        self.offload(never_yield, seconds)
        note("end")
        return run

    @rpc
    def block_process(self, seconds: float) -> int:
        """Do the same work in a process."""
        run = note("begin")
        self.compute(never_yield, seconds)
        note("end")
        return run


class Steady:
    """Does its work next to it."""

    name = "steady"

    @rpc
    def ping(self) -> str:
        return "pong"
