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


Work = Callable[[LinkChannel], None]
"""Asks the broker for something, and waits for the answer."""


class _Errand:
    """Something that is done on the channel, once for all who want it done at the same time.

    Attributes:
        work: Does it.
        deadline: Until when the most patient of those waits, on the monotonic clock.
        waiting: How many wait.
        is_begun: The broker is asked, or about to be: that is not taken back any more.
        done: Set at the end.
        error: Why it was not done.
    """

    __slots__ = ("deadline", "done", "error", "is_begun", "waiting", "work")

    def __init__(self, work: Work, deadline: float, done: Event) -> None:
        self.work = work
        self.deadline = deadline
        self.waiting = 0
        self.is_begun = False
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
        self._guard = self.backend.guard()
        self._channel: ManagedChannel | None = None
        self._spent: LinkChannel | None = None
        self._declared_on: LinkChannel | None = None
        self._declared: set[str] = set()
        self._can_check = self.key.uri.startswith(_KNOWN_BY_THE_BROKER)
        self._seen: tuple[Link | None, set[str]] = (None, set())
        # In this order, by one task for all of them.
        self._errands: dict[Hashable, _Errand] = {}
        self._is_running = False

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
        work: Work,
        deadline: float,
        silence: str = "the broker does not answer a declaration",
    ) -> None:
        """Have something done on the channel, one at a time; what closes it is an error for who asked for that alone.

        Args:
            key: What it is; who asks for the same meanwhile has the same outcome.
            work: Does it.
            deadline: Until when to wait for it, on the monotonic clock. What the broker has been asked for may still be
                done after that, by one that takes nothing meanwhile because of an alarm; what it has not is given up
                when nobody waits for it any more.
            silence: What to say of a broker that does not answer.

        Raises:
            ConnectionLost: It was not done in time, or this process is stopping.
            ChannelClosed: The broker refused it.
        """
        if self.connection.link is None and deadline <= monotonic():
            raise self._not_done(silence)
        errand = self._join(key, work, deadline)
        try:
            self._see_to(errand)
            is_done = errand.done.wait(max(0, deadline - monotonic()))
        finally:
            self._leave(key, errand)
        if not is_done:
            raise self._not_done(silence)
        error = errand.error
        # One for each, for others may wait for the same answer.
        if isinstance(error, ChannelClosed):
            raise ChannelClosed(error.code, error.text)
        if isinstance(error, ConnectionLost):
            raise ConnectionLost(str(error), maybe_executed=error.maybe_executed)
        if error is not None:
            raise error

    def _not_done(self, silence: str) -> ConnectionLost:
        reason = self.connection.health() or silence
        return ConnectionLost(f"nothing was sent: {reason}", maybe_executed=False)

    def _join(self, key: Hashable, work: Work, deadline: float) -> _Errand:
        with self._guard:
            errand = self._errands.get(key)
            if errand is None:
                errand = self._errands[key] = _Errand(work, deadline, self.backend.event())
            errand.deadline = max(errand.deadline, deadline)
            errand.waiting += 1
            return errand

    def _leave(self, key: Hashable, errand: _Errand) -> None:
        with self._guard:
            errand.waiting -= 1
            if not errand.waiting and not errand.is_begun and self._errands.get(key) is errand:
                del self._errands[key]

    def _see_to(self, errand: _Errand) -> None:
        """Have somebody carry errands out."""
        with self._guard:
            if self._is_running:
                return
            self._is_running = True
        try:
            # In a task, for a broker that takes nothing does not answer, and who waits has a time-out.
            self.backend.spawn(self._run)
        except RuntimeError:
            # From Python 3.12 on, an interpreter that ends starts no threads.
            self._run_here()
        else:
            # With a channel at hand and none before it, it is done however soon who asks goes away.
            errand.is_begun = errand.is_begun or self.current is not None

    def _run_here(self) -> None:
        if self.connection.link is not None and self.connection.health() is not None:
            # Nothing would end the wait for its answer.
            self._is_running = False
            raise self._not_done("")
        self._run()

    def _run(self) -> None:
        """Carry errands out until there are none."""
        try:
            while not self._is_idle():
                self._carry_out_next()
        except BaseException:
            self._is_running = False
            raise

    def _is_idle(self) -> bool:
        with self._guard:
            self._is_running = bool(self._errands)
            return not self._is_running

    def _carry_out_next(self) -> None:
        patience = max((errand.deadline for errand in list(self._errands.values())), default=0)
        try:
            channel = self._open().wait(patience)
        except ConnectionLost as exc:
            self._give_up(exc)
            return
        key, errand = self._begin_next(channel)
        if errand is None:
            self.backend.sleep(0)
            return
        try:
            errand.work(channel)
        except BaseException as exc:
            if isinstance(exc, ChannelClosed):
                self._spent = channel
            errand.error = exc
        self._end(key, errand)

    def _begin_next(self, channel: LinkChannel) -> tuple[Hashable, _Errand | None]:
        with self._guard:
            # The errand before may have closed the channel; on threads, before its end is told here.
            if channel is self.current and channel is not self._spent:
                for key, errand in self._errands.items():
                    errand.is_begun = True
                    return key, errand
        return None, None

    def _give_up(self, error: ConnectionLost) -> None:
        """Tell those of it for whom no channel came in time; at the stop, everybody."""
        now = monotonic()
        for key, errand in list(self._errands.items()):
            if errand.deadline <= now or self.connection.is_stopping:
                errand.error = error
                self._end(key, errand)

    def _end(self, key: Hashable, errand: _Errand) -> None:
        with self._guard:
            if self._errands.get(key) is errand:
                del self._errands[key]
        errand.done.set()

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
