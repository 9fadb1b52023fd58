"""Wait queues: what is to reach an exchange later waits in the broker, and so outlives every process.

RabbitMQ looks at the time to live of a message only when it is at the head of its queue, so each delay has a queue of
its own, whose messages all wait for the same time and are then dead-lettered to their exchange under their own routing
key. There is one queue for each delay and exchange, for all services on the broker, and for what is to reach a single
queue, such as retries, one for each delay and queue; it goes when nobody has used it for long.
https://www.rabbitmq.com/docs/ttl, https://www.rabbitmq.com/docs/dlx

Where the broker can, these are quorum queues that give up no message before the next queue has it ("at-least-once").
Such a queue stands still when 32 of its messages find no queue, and an event may be one that nobody wants. So it hands
on to a relay, an exchange that passes all on to the one that is meant, and to a queue that keeps nothing.
https://www.rabbitmq.com/docs/quorum-queues#dead-lettering

RabbitMQ (3.10 at least) has a new quorum queue on disk some three seconds after it was made. If its only node is killed
before that, the queue comes back empty, and may have no leader for ever: it refuses each message after 65 seconds, in
which the channel does nothing else. So such a queue is used when it has been there for a while, and not after it was
silent; a classic one of the same delay takes its place. Not with ``queue_type: quorum``, which is for clusters, where a
majority keeps a new queue.
"""

import logging
from collections.abc import Callable
from hashlib import sha256
from math import ceil, inf
from time import monotonic
from typing import Any, NamedTuple

from rpcservice.amqp.connection import NOT_FOUND, ConnectionKey
from rpcservice.amqp.declarations import Declarations
from rpcservice.amqp.link import LinkChannel, Message, Properties
from rpcservice.amqp.message import ORIGIN_EXCHANGE, ORIGIN_KEY
from rpcservice.amqp.pending import MARK
from rpcservice.amqp.properties import SHORT_STRING_LIMIT
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.context import new_id
from rpcservice.core.resource import Resource
from rpcservice.errors import LONGEST_PAUSE, ChannelClosed, PublishRejected, PublishTimeout, UndeliverableMessage

WAIT_EXCHANGE = "rpcservice.wait"
RELAY_PREFIX = "rpcservice.waited."
"""How the name of the exchange begins that is between a wait queue and the exchange that is meant."""
SINK = "rpcservice.waited"
"""The queue that takes what has waited, and keeps nothing, so that there is one for every message."""
WAIT_HEADER = "rpcservice-wait"
"""By which the exchange chooses the queue; the routing key is the one under which the message is to arrive."""
LONGEST_DELAY = LONGEST_PAUSE
"""Seconds, 23 days: RabbitMQ counts the life of a queue in 32 bits of milliseconds."""
RENEWAL = 60.0
"""Seconds after which a wait queue is declared again before it is used: publishing does not renew its life."""
SPARE_LIFE = 600.0
"""Seconds that a wait queue lives longer than twice its delay, so that none goes with what waits in it."""
_SHORTEST = 10
YOUTH = 5.0
"""Seconds for which a quorum queue has to be there before it is used."""
PATIENCE = 5.0
"""Seconds for which a connection that works may bring no confirm of one."""
AVOIDED = 120.0
"""Seconds for which one that was silent, or refused a message, is not used."""
_SILENT = (
    "The wait queue %s takes no messages: %s. For %g s %s takes them. If this comes again while all nodes of the "
    "broker are up, the queue has no leader: rabbitmqctl delete_queue %s, and it is made anew"
)
_LOST_ON_THE_WAY = ("CC", "BCC", "x-death")

_log = logging.getLogger(__name__)

Publish = Callable[[Message], None]


class Wait(NamedTuple):
    """How long, and for what.

    Attributes:
        milliseconds: The time.
        exchange: Where the message goes then; the empty name is the default exchange.
        target: The one queue that it is to reach by that exchange; empty where there may be any number of them.
        is_quorum: It is a quorum queue: on several nodes of a cluster.
        is_relayed: It hands on by a relay, so that it keeps each message until all queues have it.
    """

    milliseconds: int
    exchange: str
    target: str = ""
    is_quorum: bool = False
    is_relayed: bool = False

    @property
    def queue(self) -> str:
        """The name of the wait queue, which also is what its binding asks for."""
        if self.target:
            way = f"@{self.exchange}" if self.exchange else ""
            return _named(f"rpcservice.retry.{self.milliseconds}.", self.target + way)
        if self.is_relayed:
            return _named(f"rpcservice.delay.{self.milliseconds}.", self.exchange)
        kind = ".quorum" if self.is_quorum else ""
        return _named(f"{WAIT_EXCHANGE}{kind}.{self.milliseconds}.", self.exchange or "default")

    @property
    def relay(self) -> str:
        """The name of the exchange that is between the wait queue and the one that is meant."""
        return _named(RELAY_PREFIX, self.exchange)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the queue is declared with."""
        arguments: dict[str, Any] = {
            "x-message-ttl": self.milliseconds,
            "x-dead-letter-exchange": self.relay if self.is_relayed else self.exchange,
            "x-expires": 2 * self.milliseconds + int(SPARE_LIFE * 1000),
        }
        if self.is_quorum:
            arguments |= {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
            if self.target or self.is_relayed:
                # A message that no queue takes stays, and 32 of them keep all others from going on: they are for one
                # queue alone here, or there always is one.
                arguments["x-dead-letter-strategy"] = "at-least-once"
        return arguments


def _named(prefix: str, name: str) -> str:
    """Give a name that begins with a prefix, and is short enough for the broker."""
    full = prefix + name
    return full if len(full.encode()) <= SHORT_STRING_LIMIT else prefix + sha256(name.encode()).hexdigest()


def check_delay(delay: Any) -> float | None:
    """Give a delay in seconds back; None, and 0, are none.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or longer than the broker can wait.
    """
    if delay is None:
        return None
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise TypeError(f"delay={delay!r}: give a number of seconds, or None")
    if not 0 <= delay <= LONGEST_DELAY:
        raise ValueError(f"delay={delay!r}: give seconds from 0 to {LONGEST_DELAY:g}, which are 23 days")
    return delay or None


def rounded(seconds: float) -> int:
    """Give a delay in milliseconds with two digits that count, never shorter than asked for."""
    milliseconds = max(_SHORTEST, ceil(round(seconds * 1000, 3)))
    step: int = 10 ** max(0, len(str(milliseconds)) - 2)
    return -(-milliseconds // step) * step


def travelling(properties: Properties, headers: dict[str, Any]) -> Properties:
    """Give properties with which a message can be published again: by us, and to one queue.

    The broker checks ``user_id`` against our own login, would route by ``CC`` and ``BCC`` once more, and drops a
    message that seems to go in circles by its ``x-death``. An expiration would end the wait early. One without an id
    gets one, which it then keeps.
    """
    kept = {
        name: value
        for name, value in {**(properties.get("headers") or {}), **headers}.items()
        if name not in _LOST_ON_THE_WAY and not name.startswith(("x-first-death-", "x-last-death-"))
    }
    changed = {**properties, "headers": kept}
    changed.pop("user_id", None)
    changed.pop("expiration", None)
    if not changed.get("message_id"):
        changed["message_id"] = new_id()
    return changed


class WaitQueues(Resource):
    """Sends messages that are to arrive later; its key is the key of the connection that it publishes on."""

    key: ConnectionKey

    def setup(self) -> None:
        """Ask for a sender with confirms, and for the channel on which queues are declared when they are needed."""
        self._sender = self.resources.get(ConfirmedSender, self.key)
        self._declarations = self.resources.get(Declarations, self.key)
        self._declared_on: LinkChannel | None = None
        self._declared: dict[Wait, float] = {}
        self._there_since: dict[Wait, float] = {}
        self._seen: dict[Wait, float] = {}
        self._avoided_until: dict[Wait, float] = {}
        self._is_quorum = self.config.queue_type == "quorum"
        self._has_quorum_queues: bool | None = None

    def send(
        self,
        message: Message,
        delay: float,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        target: str = "",
        lasts: bool = True,
    ) -> None:
        """Send a message so that it reaches its exchange later; gives control back when the broker has it.

        Args:
            message: The message, as it would be published at once; the broker does not say whether a queue takes it.
            delay: Seconds, rounded up to two digits that count.
            timeout: Seconds to wait for the broker; None is ``publish_timeout``.
            retries: As for :meth:`ConfirmedSender.publish`.
            target: The one queue that it is to reach by its exchange, if it is one.
            lasts: The exchange is there until somebody deletes it; one that comes and goes takes its bindings along.

        Raises:
            ConnectionLost: There is no connection, or it was lost, and ``retries`` is 0; or the wait queue could not be
                declared in time.
            PublishTimeout: No confirm came in time.
            PublishRejected: The broker refused it.
            ChannelClosed: The broker does not let us declare the wait queue.
            MessageTooLarge: It was not sent.
        """
        deadline = monotonic() + (self.config.publish_timeout if timeout is None else timeout)

        def publish(waiting: Message) -> None:
            self._sender.publish(waiting, max(0, deadline - monotonic()), retries=retries)

        def try_to_publish(waiting: Message) -> None:
            # What is left is for the other queue.
            patience = min(PATIENCE, max(1, (deadline - monotonic()) / 2))
            self._publish_patiently(waiting, patience, deadline, retries)

        wait = Wait(rounded(delay), message.exchange, is_quorum=self._is_quorum)
        target = target or ("" if message.exchange else message.routing_key)
        if (target or lasts) and self._loses_nothing(deadline):
            safe = wait._replace(target=target, is_quorum=True, is_relayed=not target)
            may_send_again = retries != 0
            self._send_safely(message, safe, wait, try_to_publish, publish, deadline, may_send_again)
        else:
            self._send(message, wait, publish, deadline)

    def hand_over(self, message: Message, delay: float, target: str) -> None:
        """Do the same for a message that somebody holds, once, however long the broker takes to say that it has it.

        Args:
            message: The message.
            delay: Seconds, as for :meth:`send`.
            target: The durable queue that it is to come back to; empty for one that goes with its consumer.

        Raises:
            ConnectionLost: It was not sent, or the connection was lost.
            PublishRejected: The broker refused it.
            ChannelClosed: The broker does not let us declare the wait queue.
            MessageTooLarge: It was not sent.
        """
        deadline = monotonic() + self.config.publish_timeout

        def try_to_publish(waiting: Message) -> None:
            self._publish_patiently(waiting, PATIENCE, inf, 0)

        wait = Wait(rounded(delay), message.exchange, is_quorum=self._is_quorum)
        if target and self._loses_nothing(deadline):
            safe = wait._replace(target=target, is_quorum=True)
            self._send_safely(message, safe, wait, try_to_publish, self._sender.hand_over, deadline)
        else:
            self._send(message, wait, self._sender.hand_over, deadline)

    def _send_safely(
        self,
        message: Message,
        safe: Wait,
        plain: Wait,
        try_to_publish: Publish,
        publish: Publish,
        deadline: float,
        may_send_again: bool = True,
    ) -> None:
        """Have a message wait in a queue that loses nothing, and if that takes nothing in another one."""
        if self._is_quorum:
            # On several nodes; a majority that is missing comes back.
            self._send(message, safe, publish, deadline)
            return
        if self._is_trusted(safe, deadline):
            try:
                self._send(message, safe, try_to_publish, deadline)
                return
            except (PublishTimeout, PublishRejected) as exc:
                self._avoid(safe, plain, exc)
                if deadline <= monotonic() or not (may_send_again or isinstance(exc, PublishRejected)):
                    raise
        self._send(message, plain, publish, deadline)

    def _is_trusted(self, wait: Wait, deadline: float) -> bool:
        """Say whether a queue is on disk, and takes messages, as far as is known; it is declared, if need be."""
        self._ensure(wait, deadline)
        now = monotonic()
        # On threads, it may be declared on another channel just now.
        return now - self._there_since.get(wait, now) >= YOUTH and now >= self._avoided_until.get(wait, 0)

    def _avoid(self, wait: Wait, instead: Wait, error: Exception) -> None:
        """Use another queue for a while, if the connection is not what is wrong."""
        now = monotonic()
        if self._sender.connection.health() is None and now >= self._avoided_until.get(wait, 0):
            self._avoided_until[wait] = now + AVOIDED
            _log.error(_SILENT, wait.queue, error, AVOIDED, instead.queue, wait.queue)

    def _publish_patiently(self, message: Message, patience: float, deadline: float, retries: int | None) -> None:
        """Publish a message, and wait so long for its confirm, unless the broker is away or takes nothing from anybody.

        Raises:
            PublishTimeout: No confirm came; else as :meth:`ConfirmedSender.publish`.
        """
        connection, event = self._sender.connection, self.backend.event()
        pending = self._sender.send(message, lambda error: event.set(), retries=retries)
        try:
            while True:
                link = connection.link
                with connection.awaited():
                    has_outcome = event.wait(max(0, min(patience, deadline - monotonic())))
                is_well = link is not None and link is connection.link and connection.health() is None
                is_silent = is_well and pending.was_sent
                if has_outcome or ((is_silent or deadline <= monotonic()) and self._sender.forget(pending)):
                    break
        except BaseException:
            self._sender.forget(pending)
            raise
        if not has_outcome:
            raise self._sender.timed_out(pending, patience)
        if pending.error is not None:
            raise pending.error

    def _send(self, message: Message, wait: Wait, publish: Publish, deadline: float) -> None:
        if wait.is_quorum:
            self._sender.refusals.can_be_stuck = True
        # A mark of its own: two queues may have failed with the same message, of one id, at the same time.
        headers = {WAIT_HEADER: wait.queue, MARK: new_id()}
        if wait.is_relayed:
            # The relay is what the delivery will name.
            headers |= {ORIGIN_EXCHANGE: message.exchange, ORIGIN_KEY: message.routing_key}
        waiting = Message(
            WAIT_EXCHANGE, message.routing_key, message.body, travelling(message.properties, headers), mandatory=True
        )
        self._ensure(wait, deadline)
        try:
            publish(waiting)
        except (UndeliverableMessage, ChannelClosed) as exc:
            if isinstance(exc, ChannelClosed) and exc.code != NOT_FOUND:
                raise
            _log.warning("the wait queue %s, or its exchange, was deleted; it is declared again", wait.queue)
            self._declared.clear()
            self._seen.pop(wait, None)
            self._ensure(wait, deadline)
            publish(waiting)

    def _loses_nothing(self, deadline: float) -> bool:
        """Say whether the broker has queues that give up no message before the next one has it on disk.

        Any other forgets a message whose time has come before that, so that a broker that is killed may lose it.

        Raises:
            ConnectionLost: No broker was there in time to be asked.
        """
        connection = self._declarations.connection
        if connection.link is None and self._has_quorum_queues is None:
            self._declarations.carry_out("any", lambda channel: None, deadline)
        link = connection.link
        if link is not None:
            self._has_quorum_queues = link.has_quorum_queues
        return bool(self._has_quorum_queues)

    def _ensure(self, wait: Wait, deadline: float) -> None:
        """Have the queue declared, unless that was done a short while ago on this connection."""
        is_known = self._declarations.current is self._declared_on and self._declared_on is not None
        if is_known and monotonic() - self._declared.get(wait, -inf) < RENEWAL:
            return

        def declare(channel: LinkChannel) -> None:
            if channel is not self._declared_on:
                self._declared_on, self._declared = channel, {}
            if wait.is_relayed:
                self._declare_relay(channel, wait)
            channel.declare_exchange(WAIT_EXCHANGE, "headers", durable=True)
            channel.declare_queue(wait.queue, durable=True, arguments=wait.arguments)
            channel.bind_queue(wait.queue, WAIT_EXCHANGE, arguments={"x-match": "all", WAIT_HEADER: wait.queue})
            now = monotonic()
            if now - self._seen.get(wait, -inf) > SPARE_LIFE:
                # It may have gone meanwhile, and is made anew. Not with each connection, for a broker that is killed
                # again and again would find everything in classic queues.
                self._there_since[wait] = now
            self._seen[wait] = self._declared[wait] = now

        self._declarations.carry_out(wait, declare, deadline)

    def _declare_relay(self, channel: LinkChannel, wait: Wait) -> None:
        channel.declare_exchange(wait.relay, "fanout", durable=True)
        # Each time, for whoever has deleted the exchange has deleted this as well.
        channel.bind_exchange(wait.exchange, wait.relay)
        # All queues have to take a message: a classic one would keep them waiting while its node is down.
        kind = {"x-queue-type": "quorum"} if self._is_quorum else {}
        sink = f"{SINK}.quorum" if self._is_quorum else SINK
        channel.declare_queue(sink, durable=True, arguments={"x-max-length": 0, **kind})
        channel.bind_queue(sink, wait.relay)
