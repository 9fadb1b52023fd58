"""Declarations: what single messages ask for, and whether the exchanges are there that they only name."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from time import monotonic

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey
from rpcservice.amqp.link import Link, LinkChannel
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.topology import Declarable, declare, lasts
from rpcservice.concurrency import Event
from rpcservice.core.resource import Resource
from rpcservice.errors import ChannelClosed, ConnectionLost

MOST_REMEMBERED = 1000
"""So many names, and so many declarations, are remembered; they may come from outside, so there is a bound."""
_KNOWN_BY_THE_BROKER = ("amqp:", "amqps:", "memory:", "pyamqp:")
"""Brokers that know their exchanges; with others of kombu's, each process knows those that it has declared itself."""


class _Errand:
    """Something that is done on the channel, once for all who want it done at the same time."""

    __slots__ = ("done", "error")

    def __init__(self, done: Event) -> None:
        self.done = done
        self.error: BaseException | None = None


class Declarations(Resource):
    """Declares what single messages ask for, once on a channel of its own, with which an error stays.

    Its key is the key of its connection.
    """

    key: ConnectionKey

    def setup(self) -> None:
        """Ask for the connection; the channel is opened when it is first needed."""
        self.connection = self.resources.get(AmqpConnection, self.key)
        self._lock = self.backend.lock()
        self._guard = self.backend.guard()
        self._channel: ManagedChannel | None = None
        self._spent: LinkChannel | None = None
        self._declared_on: LinkChannel | None = None
        self._declared: set[str] = set()
        self._can_check = self.key.uri.startswith(_KNOWN_BY_THE_BROKER)
        self._seen: tuple[Link | None, set[str]] = (None, set())
        self._errands: dict[Hashable, _Errand] = {}

    def ensure(self, entities: Sequence[Declarable], seconds: float, *, may_wait: bool = True) -> None:
        """Have entities declared: those that have not been since the connection is there, or may be gone again.

        Args:
            entities: Exchanges and queues.
            seconds: How long to wait for the broker.
            may_wait: Wait for a connection that is lost to come back.

        Raises:
            ConnectionLost: They were not declared in time.
            ChannelClosed: There is something else of that name.
        """
        marks = {_mark(entity): entity for entity in entities}
        if self.current is not None and self.current is self._declared_on:
            marks = {mark: entity for mark, entity in marks.items() if not self._is_declared(mark, entity)}
        if not marks:
            return

        def declare_all(channel: LinkChannel) -> None:
            if channel is not self._declared_on or len(self._declared) >= MOST_REMEMBERED:
                self._declared_on, self._declared = channel, set()
            for mark, entity in marks.items():
                declare(channel, entity)
                self._declared.add(mark)

        is_there = may_wait or self.connection.link is not None
        self.carry_out(tuple(marks), declare_all, monotonic() + (seconds if is_there else 0))

    def _is_declared(self, mark: str, entity: Declarable) -> bool:
        return mark in self._declared and lasts(entity)

    @property
    def current(self) -> LinkChannel | None:
        """The channel as long as it is open."""
        return None if self._channel is None else self._channel.current

    def carry_out(
        self,
        key: Hashable,
        work: Callable[[LinkChannel], None],
        deadline: float,
        silence: str = "the broker does not answer a declaration",
    ) -> None:
        """Have something done on the channel, one at a time; what closes it is an error for who asked for that alone.

        Args:
            key: What it is; who asks for the same meanwhile has the same outcome.
            work: Does it.
            deadline: Until when to wait for it, on the monotonic clock. It may still be done after that: a broker that
                takes nothing, because of an alarm, does so later.
            silence: What to say of a broker that does not answer.

        Raises:
            ConnectionLost: It was not done in time.
            ChannelClosed: The broker refused it.
        """
        if self.connection.link is None and deadline <= monotonic():
            raise self._not_done(silence)
        errand = self._begin(key, work)
        if not errand.done.wait(max(0, deadline - monotonic())):
            raise self._not_done(silence)
        error = errand.error
        if isinstance(error, ChannelClosed):
            # One for each, for others may wait for the same answer.
            raise ChannelClosed(error.code, error.text)
        if error is not None:
            raise error

    def _not_done(self, silence: str) -> ConnectionLost:
        reason = self.connection.health() or silence
        return ConnectionLost(f"nothing was sent: {reason}", maybe_executed=False)

    def _begin(self, key: Hashable, work: Callable[[LinkChannel], None]) -> _Errand:
        with self._guard:
            errand = self._errands.get(key)
            if errand is not None:
                return errand
            errand = self._errands[key] = _Errand(self.backend.event())
        try:
            # In a task, for a broker that takes nothing does not answer, and who waits has a time-out.
            self.backend.spawn(self._run, key, work, errand)
        except RuntimeError:
            # From Python 3.12 on, an interpreter that ends starts no threads.
            self._run(key, work, errand)
        return errand

    def _run(self, key: Hashable, work: Callable[[LinkChannel], None], errand: _Errand) -> None:
        try:
            self._work(work)
        except BaseException as exc:
            errand.error = exc
        finally:
            with self._guard:
                del self._errands[key]
            errand.done.set()

    def _work(self, work: Callable[[LinkChannel], None]) -> None:
        channel = self._open()
        while True:
            current = channel.wait(None)
            with self._lock:
                # Whoever had the lock before may have closed it; on threads, before its end is told here.
                if current is channel.current and current is not self._spent:
                    try:
                        work(current)
                    except ChannelClosed:
                        self._spent = current
                        raise
                    return
            self.backend.sleep(0)

    def _open(self) -> ManagedChannel:
        with self._guard:
            if self._channel is None:
                managed = ManagedChannel(self.connection, "declarations", on_open=lambda channel: None)
                self._channel = self.connection.add_channel(managed)
            return self._channel

    def check(self, exchange: str, timeout: float | None, *, may_wait: bool = True) -> float | None:
        """Make sure that an exchange is there, once as long as the connection lasts; gives the seconds that are left.

        A message to an exchange that is missing would close the channel on which all messages are sent.

        Args:
            exchange: Its name; those of the broker's own, ``amq.*``, are not looked for.
            timeout: Seconds to wait for the broker; None is ``publish_timeout``.
            may_wait: Wait for a broker that is away, or that takes nothing. Else nothing is checked meanwhile.

        Raises:
            ChannelClosed: There is no such exchange.
            ConnectionLost: The broker did not say in time; nothing was sent.
        """
        if self.knows(exchange) or exchange.startswith("amq.") or not self._can_check:
            return timeout
        deadline = monotonic() + (self.config.publish_timeout if timeout is None else timeout)
        while may_wait or self.connection.health() is None:
            try:
                self.carry_out(
                    ("exchange", exchange),
                    partial(self._look_for, exchange),
                    deadline,
                    f"the broker does not say whether it has the exchange {exchange!r}",
                )
                break
            except ConnectionLost:
                if self.connection.is_stopping or deadline <= monotonic():
                    raise
        return max(0.0, deadline - monotonic())

    def knows(self, exchange: str) -> bool:
        """Say whether an exchange needs no check: it was there since the connection is."""
        link, names = self._seen
        return exchange in names and link is self.connection.link

    def _look_for(self, exchange: str, channel: LinkChannel) -> None:
        link = self.connection.link
        channel.declare_exchange(exchange, passive=True)
        self._note(link, exchange)

    def _note(self, link: Link | None, exchange: str) -> None:
        with self._guard:
            known_on, names = self._seen
            if link is not known_on or len(names) >= MOST_REMEMBERED:
                names = set()
            names.add(exchange)
            self._seen = link, names


def _mark(entity: Declarable) -> str:
    """Give a text that is the same for entities that are declared the same way."""
    described = entity.as_dict(recurse=True)
    described["bindings"] = sorted(map(str, described.get("bindings", ())))
    return f"{type(entity).__name__} {described}"
