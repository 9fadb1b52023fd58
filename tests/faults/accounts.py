"""What became of all that a load has sent, counted when everything has come to its end."""

import signal
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from command_process import Running
from ledger import Ledger
from waiting import wait_until


@dataclass(frozen=True)
class Accounts:
    """How often each number went through each stage.

    Attributes:
        ended: The calls that ended with an error, and ``unsent`` the events that were not acknowledged; by number, with
            the error's name.
    """

    sent: Counter[str]
    acknowledged: Counter[str]
    handled: Counter[str]
    asked: Counter[str]
    called: Counter[str]
    answered: Counter[str]
    ended: dict[str, str]
    unsent: dict[str, str]

    @property
    def lost(self) -> set[str]:
        """Events that were acknowledged to their sender, and not handled."""
        return self.acknowledged.keys() - self.handled.keys()

    @property
    def twice(self) -> int:
        """How often an event was handled again."""
        return self.handled.total() - len(self.handled)

    @property
    def called_twice(self) -> int:
        """How often a call was carried out again."""
        return self.called.total() - len(self.called)

    @property
    def figures(self) -> dict[str, Any]:
        """The figures for the report."""
        return {
            "sent": len(self.sent),
            "acknowledged": len(self.acknowledged),
            "handled": len(self.handled),
            "lost": len(self.lost),
            "twice": self.twice,
            "calls": len(self.asked),
            "answered": len(self.answered),
            "failed": len(self.ended),
            "called_twice": self.called_twice,
            "why": dict(Counter([*self.ended.values(), *self.unsent.values()])),
        }


def breaks(running: Running, what: str = "connecting again") -> int:
    """Give how often a process has said that it lost its connection, or something else."""
    return sum(what in line for line in running.err)


def take_stock(ledger: Ledger) -> Accounts:
    """Give what the ledger says now."""
    ended, unsent = (dict(line.split() for line in ledger.read(kind)) for kind in ("ended", "unsent"))
    kinds = ("sent", "acknowledged", "handled", "asked", "called", "answered")
    return Accounts(*(ledger.read(kind) for kind in kinds), ended, unsent)


def end(load: Running, timeout: float = 120) -> None:
    """End a load: it sends no more, and all that it has begun ends."""
    load.process.send_signal(signal.SIGTERM)
    load.wait_for("all has ended", timeout=timeout)
    assert load.wait() == 0


def settle(
    load: Running, ledger: Ledger, *, may_be_lost: AbstractSet[str] = frozenset(), timeout: float = 120
) -> Accounts:
    """End a load and see that each message and call has come to an end, and that nothing acknowledged is lost."""
    end(load, timeout)
    wait_until(lambda: take_stock(ledger).lost <= may_be_lost, "the last of what was acknowledged", timeout)
    accounts = take_stock(ledger)
    assert accounts.sent.keys() == accounts.acknowledged.keys() | accounts.unsent.keys()
    assert not accounts.handled.keys() - accounts.sent.keys()
    assert accounts.asked.keys() == accounts.answered.keys() | accounts.ended.keys()
    assert not accounts.answered.keys() - accounts.called.keys()
    return accounts
