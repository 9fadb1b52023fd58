"""Stores of the outcomes of idempotent calls, chosen by URL, and the one that is in this process alone."""

from collections.abc import Iterable
from importlib import import_module
from time import monotonic
from typing import Any

from rpcservice.core.idempotency import Holding, IdempotencyStore, State
from rpcservice.core.resource import Resources

MEMORY = ("memory://", "memory:")
"""The first may stand in YAML without quotes."""


def open_store(url: str, resources: Resources) -> IdempotencyStore:
    """Give the store that a URL names.

    Args:
        url: What ``idempotency_store`` may be.
        resources: Those of the process, which has one pool of connections for each database.

    Raises:
        MissingExtra: It needs a package that is not installed.
        ConfigError: There is no such database.
    """
    if url in MEMORY:
        return MemoryStore()
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "unix"):
        store: IdempotencyStore = import_module("rpcservice.reliability.stores_redis").RedisStore(url)
    else:
        store = import_module("rpcservice.reliability.stores_sql").SqlStore(url, resources)
    return store


class MemoryStore:
    """Keeps outcomes in this process: for tests, and for services whose duplicates come back to the same one."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[str, float]] = {}
        self._outcomes: dict[str, tuple[bytes, float]] = {}

    def start(self) -> None:
        """Nothing is to be made."""

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        """Claim a key; gives its outcome where there is one."""
        now = monotonic()
        outcome, expires = self._outcomes.get(holding.key, (b"", 0.0))
        if expires > now:
            return outcome
        owner, expires = self._claims.get(holding.key, ("", 0.0))
        if owner != holding.owner and expires > now:
            return State.RUNNING
        self._claims[holding.key] = (holding.owner, now + seconds)
        return State.CLAIMED

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        """Have claims last longer."""
        for holding in holdings:
            if self._owns(holding):
                self._claims[holding.key] = (holding.owner, monotonic() + seconds)

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        """Keep an outcome; there is no transaction in which it could be."""
        now = monotonic()
        if self._outcomes.get(holding.key, (b"", 0.0))[1] > now:
            return False
        self._outcomes[holding.key] = (outcome, now + seconds)
        self.release(holding)
        return True

    def release(self, holding: Holding) -> None:
        """Give a claim up."""
        if self._owns(holding):
            del self._claims[holding.key]

    def _owns(self, holding: Holding) -> bool:
        return self._claims.get(holding.key, ("", 0.0))[0] == holding.owner

    def remove_expired(self, limit: int) -> int:
        """Remove what has been kept long enough, all at once."""
        now = monotonic()
        for kept in (self._outcomes, self._claims):
            for key in [key for key, (_, expires) in kept.items() if expires <= now]:
                del kept[key]
        return 0

    def is_in(self, url: str) -> bool:
        """It is in no database."""
        return False
