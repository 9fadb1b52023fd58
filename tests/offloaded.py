"""Functions that tests of Offload have carried out elsewhere; other processes import them from here."""

import os
import signal
import threading
from pathlib import Path
from time import monotonic
from typing import Any


class Refused(Exception):
    """One with arguments of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"no {self.number}"


class Unsendable(Exception):
    """One that pickle does not take."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unprintable(Unsendable):
    """One whose text cannot be had either."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Unreadable:
    """What pickle takes and does not give back."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("not here")

    def __getstate__(self) -> Any:
        return "state"


def add(a: Any, b: Any) -> Any:
    return a + b


def refuse(number: int) -> None:
    raise Refused(number)


def raise_unsendable() -> None:
    raise Unsendable("it holds a lock")


def raise_unprintable() -> None:
    raise Unprintable("it holds a lock")


def give_unsendable() -> Any:
    return threading.Lock()


def block(seconds: float) -> float:
    """Wait as C code does, for whom there is no loop."""
    from rpcservice.concurrency.native import native

    native("time").sleep(seconds)
    return seconds


def meet(folder: Path, own: str, other: str) -> str:
    """Wait until somebody else is here too."""
    (folder / own).touch()
    deadline = monotonic() + 20
    while not (folder / other).exists():
        assert monotonic() < deadline, "nobody came"
        block(0.01)
    return "met"


def write_pid_and_block(path: Path, seconds: float) -> None:
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    block(seconds)


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
