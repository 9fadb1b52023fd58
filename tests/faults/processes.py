"""What a process of Linux holds: for the proof that it holds no more of it in the end."""

import gc
import os
from pathlib import Path
from typing import NamedTuple

from greenlet import greenlet

PAGE = os.sysconf("SC_PAGE_SIZE")


class Holdings(NamedTuple):
    """What a process has taken of the system.

    Attributes:
        memory: Resident memory, in MiB.
        descriptors: Open files and sockets.
        threads: Threads of the system.
    """

    memory: float
    descriptors: int
    threads: int


def holdings(pid: int | str = "self") -> Holdings:
    """Give what a process holds now; by default this one."""
    folder = Path("/proc", str(pid))
    pages = int((folder / "statm").read_text().split()[1])
    return Holdings(
        round(pages * PAGE / 2**20, 1), len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))
    )


def count_greenlets() -> int:
    """Give the number of greenlets that live in this process, after the dead ones have been collected."""
    gc.collect()
    return sum(isinstance(one, greenlet) and not one.dead for one in gc.get_objects())
