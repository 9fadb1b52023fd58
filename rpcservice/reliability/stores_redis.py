"""RedisStore, which keeps the outcomes of idempotent calls in Redis."""

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from rpcservice.core.idempotency import Holding, State
from rpcservice.errors import ConfigError, MissingExtra, StoreUnavailable

try:
    import redis
except ImportError as exc:
    raise MissingExtra('idempotency_store in Redis needs redis; run: pip install "rpcservice[redis]"') from exc

PREFIX = "rpcservice:idempotency:"
TIMEOUT = 5.0
"""Seconds that an answer of the server may take, unless the URL says something else."""
_CLAIM, _OUTCOME = b"c", b"o"

# Each looks and changes at one go; ARGV[1] is the claim as it is kept.
_CLAIMING = """
local kept = redis.call('GET', KEYS[1])
if kept and kept ~= ARGV[1] then return kept end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_RENEWING = """
local kept = redis.call('GET', KEYS[1])
if not kept or kept == ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
"""
_FINISHING = """
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, 1) == 'o' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASING = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisStore:
    """Keeps outcomes as values of Redis that expire by themselves.

    What Redis loses, by a restart without ``appendonly`` or because its memory is full, is run again.

    Args:
        url: Such as ``redis://user:password@host:6379/0``, with options of redis-py as its query.

    Raises:
        ConfigError: It is no such URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._client: Any = redis.Redis.from_url(url, **_timeouts(url))
        except ValueError:
            # Without the cause, which may hold a part of the password.
            raise ConfigError("idempotency_store is no URL of Redis; give redis://user:password@host:6379/0") from None
        self._claiming, self._renewing, self._finishing, self._releasing = (
            self._client.register_script(script) for script in (_CLAIMING, _RENEWING, _FINISHING, _RELEASING)
        )

    def start(self) -> None:
        """See whether the server is there."""
        self._run(self._client.ping)

    def _call(self, script: Callable[..., Any], holding: Holding, value: bytes, seconds: float = 0) -> Any:
        return self._run(lambda: script([PREFIX + holding.key], [value, max(1, ceil(seconds * 1000))]))

    def _run(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (redis.RedisError, OSError) as exc:
            raise StoreUnavailable(f"the store of idempotent calls: {type(exc).__name__}: {exc}") from exc

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        """Claim a key; gives its outcome where there is one."""
        claim = _claim(holding)
        kept: bytes = self._call(self._claiming, holding, claim, seconds)
        if kept == claim:
            return State.CLAIMED
        return kept[1:] if kept.startswith(_OUTCOME) else State.RUNNING

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        """Have claims last longer."""
        for holding in holdings:
            self._call(self._renewing, holding, _claim(holding), seconds)

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        """Keep an outcome; there is no transaction in which it could be."""
        return bool(self._call(self._finishing, holding, _OUTCOME + outcome, seconds))

    def release(self, holding: Holding) -> None:
        """Give a claim up."""
        self._call(self._releasing, holding, _claim(holding))

    def remove_expired(self, limit: int) -> int:
        """Nothing is left to do: Redis does it."""
        return 0

    def is_in(self, url: str) -> bool:
        """It is in no database that has transactions with others."""
        return False


def _claim(holding: Holding) -> bytes:
    return _CLAIM + holding.owner.encode()


def _timeouts(url: str) -> dict[str, float]:
    names = ("socket_timeout", "socket_connect_timeout")
    return {name: TIMEOUT for name in names if f"{name}=" not in url}
