"""Declarations: what single messages ask for, and whether the exchanges are there that they only name."""

from collections.abc import Callable, Iterable
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


class _Question:
    """Whether an exchange is there; asked once for all who want to know."""

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
        self._questions: dict[str, _Question] = {}

    def ensure(self, entities: Iterable[Declarable], seconds: float, *, may_wait: bool = True) -> None:
        """Have entities declared: those that have not been since the connection is there, or may be gone again.

        Args:
            entities: Exchanges and queues.
            seconds: How long to wait for the channel.
            may_wait: Wait for a connection that is lost to come back.

        Raises:
            ConnectionLost: The connection did not come back in time.
            ChannelClosed: There is something else of that name.
        """

        def declare_all(channel: LinkChannel) -> None:
            if channel is not self._declared_on or len(self._declared) >= MOST_REMEMBERED:
                self._declared_on, self._declared = channel, set()
            for entity in entities:
                mark = _mark(entity)
                if mark not in self._declared or not lasts(entity):
                    declare(channel, entity)
                    self._declared.add(mark)

        is_there = may_wait or self.connection.link is not None
        self.carry_out(declare_all, monotonic() + (seconds if is_there else 0))

    def carry_out(self, work: Callable[[LinkChannel], None], deadline: float | None) -> None:
        """Do something on the channel, one at a time; what closes it is an error for who did that alone.

        Raises:
            ConnectionLost: The channel was not there by ``deadline`` on the monotonic clock (None: for ever).
            ChannelClosed: The broker refused it.
        """
        channel = self._open()
        while True:
            current = channel.wait(deadline)
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
            question = self._ask(exchange)
            if not question.done.wait(max(0, deadline - monotonic())):
                reason = self.connection.health() or f"the broker does not say whether it has the exchange {exchange!r}"
                raise ConnectionLost(f"nothing was sent: {reason}", maybe_executed=False)
            error = question.error
            if error is None:
                break
            if isinstance(error, ChannelClosed):
                # One for each, for others may wait for the same answer.
                raise ChannelClosed(error.code, error.text)
            if not isinstance(error, ConnectionLost) or self.connection.is_stopping:
                raise error
        return max(0.0, deadline - monotonic())

    def knows(self, exchange: str) -> bool:
        """Say whether an exchange needs no check: it was there since the connection is."""
        link, names = self._seen
        return exchange in names and link is self.connection.link

    def _ask(self, exchange: str) -> _Question:
        with self._guard:
            question = self._questions.get(exchange)
            if question is not None:
                return question
            question = self._questions[exchange] = _Question(self.backend.event())
        try:
            # In a task, for a broker that takes nothing does not answer, and who waits has a time-out.
            self.backend.spawn(self._answer, exchange, question)
        except RuntimeError:
            # From Python 3.12 on, an interpreter that ends starts no threads.
            self._answer(exchange, question)
        return question

    def _answer(self, exchange: str, question: _Question) -> None:
        def look(channel: LinkChannel) -> None:
            link = self.connection.link
            channel.declare_exchange(exchange, passive=True)
            self._note(link, exchange)

        try:
            self.carry_out(look, None)
        except BaseException as exc:
            question.error = exc
        finally:
            with self._guard:
                del self._questions[exchange]
            question.done.set()

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
