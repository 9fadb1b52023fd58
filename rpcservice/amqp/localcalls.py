"""Calls of services that run in the same process: request and reply go from one to the other, without the broker.

Both are made, hooked into, copied and read as those that the broker carries, so a call cannot tell which way it went.
"""

from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.codec import Codec
from rpcservice.amqp.link import Delivery, Message, Properties
from rpcservice.amqp.memory_message import copy_simple, snapshot
from rpcservice.amqp.rpccall import LocalCall, RepeatedLocalCall, RpcCall
from rpcservice.core.resource import Resource

if TYPE_CHECKING:
    from rpcservice.amqp.replies import ReplyListener
    from rpcservice.amqp.rpc import RpcConsumer


class LocalServices(Resource):
    """Which methods may be called here without the broker now."""

    def setup(self) -> None:
        """Begin with none."""
        self.by_routing_key: dict[str, RpcConsumer] = {}

    def add(self, consumer: "RpcConsumer") -> None:
        """Take in a service that takes requests in: those of its methods that need nothing of a queue."""
        for name, method in consumer.methods.items():
            if method.method_may_be_local and consumer.otherwise is None:
                self.by_routing_key[f"{consumer.key}.{name}"] = consumer

    def remove(self, consumer: "RpcConsumer") -> None:
        """Let a service go."""
        for name in consumer.methods:
            self.by_routing_key.pop(f"{consumer.key}.{name}", None)


class LocalCalls:
    """Carries out the calls of one client where it can; the channel of their requests, by which replies come back.

    Args:
        services: Those of the process.
        replies: Where calls are that wait for their replies.
    """

    is_open = True
    """For whoever is about to answer: a reply always gets through."""

    def __init__(self, services: LocalServices, replies: "ReplyListener") -> None:
        self._services = services.by_routing_key
        self._exchange = services.config.rpc_exchange
        self._replies = replies

    def start(self, message: Message, service_name: str, method_name: str, is_repeated: bool) -> RpcCall | None:
        """Have a request carried out here; None where that is for the broker.

        Raises:
            MessageTooLarge: The headers would not fit into a frame.
            UnserializableValueError: A header has a type that AMQP does not know.
        """
        consumer = self._services.get(message.routing_key)
        replies, properties = self._replies, message.properties
        # Only a queue lets messages expire; and a hook may have sent it, or the reply, elsewhere.
        if consumer is None or "expiration" in properties or message.exchange != self._exchange:
            return None
        if properties.get("reply_to") != replies.routing_key or consumer.is_full():
            return None
        cls = RepeatedLocalCall if is_repeated else LocalCall
        call = cls(service_name, method_name, message.timeout, replies.backend.event(), replies)
        call.correlation_id = properties["correlation_id"]
        call.is_local = True
        request = LocalRequest(self, message, call)
        replies.keep(call)
        try:
            # As in a reader: what hooks and log lines see there is not the worker that calls.
            Context().run(consumer.receive, request)
        except BaseException:
            replies.drop(call)
            raise
        if call.is_done():
            # Refused without a worker: who goes on and on with such calls has to let others have their turn.
            replies.backend.sleep(0)
        return call

    def publish(self, message: Message) -> int:
        """Hand a reply to the call that waits for it."""
        self.hand_over(message.routing_key, message.body, _copy(message))
        return 0

    def hand_over(self, routing_key: str, body: bytes, properties: Properties) -> None:
        """Hand what a reply consists of to the call that waits for it."""
        channel: Any = self
        self._replies.receive(Delivery(channel, "", 0, False, self._exchange, routing_key, body, properties))

    def give_back(self, message: Message, call: RpcCall) -> None:
        """Send a request to the broker that was not carried out here."""
        self._replies.send_again(message, call)


class LocalRequest(Delivery):
    """A request that has not been with the broker."""

    __slots__ = ("_call", "_calls", "_message")

    is_local = True

    def __init__(self, calls: LocalCalls, message: Message, call: LocalCall | RepeatedLocalCall) -> None:
        channel: Any = calls
        super().__init__(channel, "", 0, False, message.exchange, message.routing_key, message.body, _copy(message))
        self._calls = calls
        self._message = message
        self._call = call

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits, in seconds: 0 when it does no longer, None without end."""
        call = self._call
        if call.is_done():
            return 0
        return None if call.deadline is None else max(0, call.deadline - monotonic())

    def answer(self, codec: Codec, body: bytes) -> None:
        """Hand the reply over, where nobody wants to see it as a message."""
        properties = {"content_type": codec.content_type, "correlation_id": self._call.correlation_id}
        self._calls.hand_over(self.properties.get("reply_to", ""), body, properties)
        self.ack()

    def ack(self) -> None:
        """Note that the request has been answered here, or sent on to be answered later by way of the broker."""
        self._call.is_local = False

    def reject(self, requeue: bool = False) -> None:
        """Give the request to the broker, which has it carried out by somebody else, or here later on."""
        self._call.is_local = False
        if requeue:
            self._calls.give_back(self._message, self._call)


def _copy(message: Message) -> Properties:
    """Give properties as they would come out of a frame: later changes do not show.

    Raises:
        MessageTooLarge: The headers would not fit into a frame.
        UnserializableValueError: A header has a type that AMQP does not know.
    """
    headers = copy_simple(message.properties["headers"])
    return snapshot(message) if headers is None else {**message.properties, "headers": headers}
