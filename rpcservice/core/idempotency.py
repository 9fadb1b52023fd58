"""Idempotency: what a store of outcomes offers, and the claims that this process has on keys whose method it runs."""

import logging
from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import sha256
from importlib import import_module
from time import monotonic, time
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote
from uuid import UUID

from rpcservice.concurrency import Event, Task
from rpcservice.core.context import WorkerContext
from rpcservice.core.faults import summary
from rpcservice.core.resource import Resource
from rpcservice.errors import ConfigError, DeadlineExceeded, MissingKey, StoreUnavailable

LONGEST_KEY = 300
"""Characters; of a longer key its hash is kept."""
RENEWALS = 3
"""So many times within the life of a claim it is renewed."""
CLEANING = 60.0
"""Seconds from one removal of expired outcomes to the next."""
BATCH = 500
"""So many outcomes are removed at a time, so that nobody has to wait for it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

# Named and not imported, for the core knows no store; nor is one loaded where nothing is idempotent.
_HOME = "rpcservice.reliability.stores"

KeyFunction = Callable[..., Any]

_log = logging.getLogger(__name__)


class State(Enum):
    """What a store says of a key whose outcome it does not have."""

    CLAIMED = "claimed"
    """Nobody runs it: it is the caller's now."""
    RUNNING = "running"
    """Somebody else runs it."""


class Holding(NamedTuple):
    """A claim as stores know it."""

    key: str
    owner: str


class IdempotencyStore(Protocol):
    """Keeps the outcomes of methods by key, and who runs one whose outcome is not there yet.

    A claim lapses by itself, for its owner may have died. All of it raises StoreUnavailable when the store cannot be
    reached.
    """

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        """Claim a key for so many seconds; gives its outcome where there is one."""
        ...

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        """Have claims last for so many seconds from now on; without effect on those that somebody else has now."""
        ...

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        """Keep an outcome for so many seconds.

        Args:
            holding: The claim of whoever has run the method.
            outcome: What it has given.
            seconds: How long it is kept.
            connection: Write it there, in the transaction that it is in. Then the claim stays as it is.

        Gives False when it was too late: the claim had lapsed, and somebody else has run the method.
        """
        ...

    def release(self, holding: Holding) -> None:
        """Give a claim up; without effect when somebody else has it now."""
        ...

    def remove_expired(self, limit: int) -> int:
        """Remove outcomes that have been kept long enough, at most so many; gives how many they were."""
        ...

    def is_in(self, url: str) -> bool:
        """Say whether this store is in the database with that URL."""
        ...

    def start(self) -> None:
        """Connect, and make what the store keeps its things in."""
        ...


@runtime_checkable
class Transactions(Protocol):
    """A provider that has a transaction in a database for each worker, and commits it in ``worker_result``."""

    attr_name: str

    @property
    def database_url(self) -> str:
        """Which database."""
        ...

    def connection(self, ctx: WorkerContext) -> Any:
        """Give the connection of a worker, in its transaction."""
        ...


def check_idempotent(given: Any) -> Literal[True] | KeyFunction | None:
    """Give what an option ``idempotent=`` stands for; False and None are none.

    Raises:
        TypeError: It is something else than it may be.
    """
    if given is None or given is False:
        return None
    if given is not True and not callable(given):
        raise TypeError(
            f"idempotent={given!r}: give True, by the id of the message, or a function of the method's arguments"
        )
    return given  # type: ignore[no-any-return]  # callable() says nothing of what it gives


def make_key(ctx: WorkerContext, given: Literal[True] | KeyFunction) -> str:
    """Give the key of a call: service, method, and the id of its message or what a function makes of its arguments.

    Raises:
        MissingKey: There is none.
    """
    place = f"{ctx.service_name}.{ctx.entrypoint.method_name}"
    if given is True:
        identity = ctx.message.properties.get("message_id")
        if not identity:
            raise MissingKey(
                f"{place} is idempotent by message_id, and this message has none; "
                "have its sender set one, or give idempotent=lambda ...: a key from its arguments"
            )
    else:
        try:
            identity = given(*ctx.args, **ctx.kwargs)
        except Exception as exc:
            raise MissingKey(f"{place}: idempotent= failed: {summary(exc)}") from exc
    if isinstance(identity, bool) or not isinstance(identity, str | int | UUID) or identity == "":
        raise MissingKey(f"{place}: idempotent= gave {identity!r:.100}; it has to be a text, a whole number or a UUID")
    parts = (ctx.service_name, ctx.entrypoint.method_name, str(identity))
    key = ":".join(quote(part, safe=" @/+=,", errors="surrogatepass") for part in parts)
    return key if len(key) <= LONGEST_KEY else f"sha256:{sha256(key.encode()).hexdigest()}"


class Claim:
    """That this process runs the method for a key, or waits for another one that does."""

    def __init__(self, holding: Holding, ended: Event) -> None:
        self.holding = holding
        self.renewed = monotonic()
        self.ended = ended
        self.outcome: bytes | None = None


class Claims(Resource):
    """The claims of this process: one for each key, on which all others wait that come with the same one."""

    def setup(self) -> None:
        """Find the store.

        Raises:
            ConfigError: There is none.
            MissingExtra: It needs a package that is not installed.
        """
        url = self.config.idempotency_store
        if url is None:
            raise ConfigError(
                "idempotent= needs a store, and idempotency_store is not set; give sqlite:///path for one host, "
                "postgresql+psycopg2://user:password@host/database or redis://host/0 for several, memory: for a test"
            )
        self.store: IdempotencyStore = import_module(_HOME).open_store(url, self.resources)
        self._lease = self.config.idempotency_lease
        self._known: dict[str, Claim] = {}
        self._held: dict[Holding, Claim] = {}
        self._stopped = self.backend.event()
        self._task: Task | None = None
        self._trouble: str | None = None

    def start(self) -> None:
        """Open the store, and begin to renew claims."""
        self.store.start()
        self._task = self.backend.spawn(self._keep_house)

    def stop(self) -> None:
        """Renew nothing any more."""
        self._stopped.set()

    kill = stop

    def health(self) -> str | None:
        """Say that the store cannot be asked."""
        return self._trouble

    def claim(self, ctx: WorkerContext, key: str) -> Claim | bytes | None:
        """Claim a key for a worker; waits while somebody else has it.

        Gives the outcome where there is one, and None when the service stops meanwhile.

        Raises:
            DeadlineExceeded: The caller gives up before the other one has ended.
            StoreUnavailable: The store cannot be asked.
        """
        while (known := self._known.get(key)) is not None:
            if not known.ended.wait(self._time_left(ctx)):
                raise _too_late(ctx)
            if known.outcome is not None:
                return known.outcome
        claim = self._known[key] = Claim(Holding(key, ctx.call_id), self.backend.event())
        try:
            found = self._ask(ctx, claim)
        except BaseException as exc:
            if isinstance(exc, StoreUnavailable):
                self._trouble = str(exc)
            self._let_go(claim)
            raise
        if found is State.CLAIMED:
            claim.renewed = monotonic()
            self._held[claim.holding] = claim
            return claim
        self._let_go(claim, found)
        return found

    def _ask(self, ctx: WorkerContext, claim: Claim) -> bytes | Literal[State.CLAIMED] | None:
        """Ask the store again and again while the key is somebody else's."""
        pause = _FIRST_PAUSE
        while (found := self.store.claim(claim.holding, self._lease)) is State.RUNNING:
            if ctx.container.is_stopping:
                return None
            left = self._time_left(ctx)
            if left is not None and left <= 0:
                raise _too_late(ctx)
            self.backend.sleep(pause if left is None else min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return found

    def _time_left(self, ctx: WorkerContext) -> float | None:
        deadline = ctx.deadline
        return None if deadline is None else max(0.0, deadline + self.config.clock_skew - time())

    def finish(self, claim: Claim, outcome: bytes) -> None:
        """Keep the outcome of a method that has run, its effects committed; a failure is no failure of the call."""
        name = claim.holding.owner
        try:
            if not self.store.finish(claim.holding, outcome, self.config.idempotency_ttl):
                _log.error("%s: its claim had lapsed, and another worker has run it too; see idempotency_lease", name)
        except StoreUnavailable as exc:
            _log.error("%s: its outcome is not kept, so that a duplicate would be run again: %s", name, exc)
        self._let_go(claim, outcome)

    def finish_within(self, claim: Claim, outcome: bytes, connection: Any) -> bool:
        """Keep an outcome in the transaction of the method; then call :meth:`committed`, or :meth:`release`."""
        return self.store.finish(claim.holding, outcome, self.config.idempotency_ttl, connection)

    def committed(self, claim: Claim, outcome: bytes) -> None:
        """Tell who waits for a claim of an outcome that has been committed.

        The claim is left to lapse: whoever asks the store gets the outcome, and the caller need not wait for it.
        """
        self._let_go(claim, outcome)

    def release(self, claim: Claim) -> None:
        """Give a claim up whose method has failed, so that another attempt may run it."""
        try:
            self._give_up(claim)
        finally:
            self._let_go(claim)

    def _give_up(self, claim: Claim) -> None:
        try:
            self.store.release(claim.holding)
        except StoreUnavailable as exc:
            _log.warning("%s: its claim lapses in %g s: %s", claim.holding.owner, self._lease, exc)

    def _let_go(self, claim: Claim, outcome: bytes | None = None) -> None:
        """Wake who waits for a claim in this process."""
        claim.outcome = outcome
        self._held.pop(claim.holding, None)
        if self._known.get(claim.holding.key) is claim:
            del self._known[claim.holding.key]
        claim.ended.set()

    def _keep_house(self) -> None:
        cleaned = monotonic()
        while not self._stopped.wait(self._lease / RENEWALS / 2):
            try:
                self._renew()
                if self._trouble is not None:
                    # Which asks the store whether it is there.
                    self.store.start()
                    self._trouble = None
                if monotonic() - cleaned >= CLEANING:
                    cleaned = monotonic()
                    while self.store.remove_expired(BATCH) == BATCH and not self._stopped.is_set():
                        self.backend.sleep(0)
            except StoreUnavailable as exc:
                self._trouble = str(exc)
                _log.warning("the claims on idempotent calls cannot be renewed: %s", exc)

    def _renew(self) -> None:
        now = monotonic()
        due = [claim for claim in self._held.values() if now - claim.renewed >= self._lease / RENEWALS]
        if due:
            self.store.renew([claim.holding for claim in due], self._lease)
            for claim in due:
                claim.renewed = now


def _too_late(ctx: WorkerContext) -> DeadlineExceeded:
    return DeadlineExceeded(f"{ctx.entrypoint.describe()}: the same request is still being carried out elsewhere")
