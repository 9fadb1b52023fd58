"""Responder: encodes the outcomes of requests, and sends the replies."""

import logging
from collections.abc import Callable
from typing import Any

from rpcservice.amqp.codec import Codec, Codecs
from rpcservice.amqp.compression import find_compression
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.link import Delivery, Message, Properties
from rpcservice.amqp.message import APP_ID, PERSISTENT, TRANSIENT, check_size, properties_for
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.context import new_id
from rpcservice.core.faults import error_to_data
from rpcservice.core.resource import Resource
from rpcservice.errors import MessageTooLarge, MissingExtra, UnserializableValueError

_log = logging.getLogger(__name__)


class Reply(Message):
    """A reply on its way out.

    Attributes:
        was_sent: It has been handed to the broker, whatever a hook did before or after.
    """

    __slots__ = ("was_sent",)

    was_sent: bool


class Responder(Resource):
    """Answers requests: to our own callers on the channel that then acks, to others with a confirm before the ack.

    Our callers fail at once when the connection breaks, so a lost reply is found out; nameko's wait for ever.

    Attributes:
        describe: Gives the error object of a reply.
    """

    describe: Callable[..., dict[str, Any]] = staticmethod(error_to_data)

    def setup(self) -> None:
        """Ask for the serializers and for a sender with confirms."""
        self.codecs = self.resources.get(Codecs)
        self._kinds: dict[tuple[str, bool], Properties] = {}
        # It has to outlive this resource: replies that are confirmed at the stop are acked on it.
        self.resources.get(AmqpConnection, connection_key(self.config))
        self._is_shared = self.config.publish_connection != "dedicated"
        self._sender = self.resources.get(ConfirmedSender, connection_key(self.config, publishes=True))
        self._exchange = self.config.rpc_exchange
        self._sender.declare(lambda channel: channel.declare_exchange(self._exchange, "topic", durable=True))

    def encode(self, request: Delivery, result: Any, error: BaseException | None) -> tuple[Codec, bytes]:
        """Encode an outcome in the request's own serializer.

        Raises:
            UnserializableValueError: The result cannot be encoded.
            MessageTooLarge: The reply would have more than ``max_message_size`` bytes.
        """
        codec = self.codecs.for_type(request.properties.get("content_type"))
        if error is None:
            try:
                body = codec.dumps({"result": result, "error": None})
            except Exception as exc:
                raise UnserializableValueError(result) from exc
            return codec, check_size(body, self.config.max_message_size)
        fault = self.describe(error, send_traceback=self.config.send_traceback)
        body = codec.encode({"result": None, "error": fault})
        if len(body) > self.config.max_message_size:
            too_large = MessageTooLarge("error reply", len(body), self.config.max_message_size)
            body = codec.encode({"result": None, "error": self.describe(too_large)})
        return codec, body

    def reply(self, request: Delivery, codec: Codec, body: bytes) -> "Reply | None":
        """Make the reply to a request; None where nobody asked for one."""
        reply_to = request.properties.get("reply_to")
        if reply_to is None:
            _log.info("request %s has no reply_to: its result is dropped", request.routing_key)
            return None
        is_ours = request.properties.get("app_id") == APP_ID
        properties = self._kinds.get((codec.name, is_ours)) or self._make_kind(codec, is_ours)
        properties = {**properties, "headers": {}, "message_id": new_id()}
        headers = request.properties.get("headers")
        if headers and (compression := headers.get("compression")):
            body = self._packed(compression, body, properties["headers"])
        if "correlation_id" in request.properties:
            properties["correlation_id"] = request.properties["correlation_id"]
        message = Reply(self._exchange, reply_to, body, properties)
        # On a connection of its own a reply is not in one order with the ack, so the ack has to wait for the confirm.
        # One that comes again may have a reply that the broker refuses by closing the channel, the ack with it: without
        # a confirm it would come for ever.
        goes_with_ack = is_ours and (self._is_shared or request.is_local) and not request.redelivered
        message.channel = request.channel if goes_with_ack else None
        message.on_done = None if goes_with_ack else Settlement(request)
        return message

    def _make_kind(self, codec: Codec, is_ours: bool) -> Properties:
        """Give what replies of one kind have in common, and keep it."""
        properties = properties_for(codec, delivery_mode=TRANSIENT if is_ours else PERSISTENT)
        self._kinds[codec.name, is_ours] = properties
        return properties

    def _packed(self, name: object, body: bytes, headers: dict[str, Any]) -> bytes:
        """Compress a reply as its request was, if that is possible; note it in the reply's headers."""
        try:
            compression = find_compression(name)
        except (ValueError, MissingExtra):
            return body  # which says so
        headers["compression"] = compression.content_type
        return compression.pack(body)

    def send(self, message: Message) -> None:
        """Send a reply on the channel that is to ack the request, or with a confirm."""
        if message.channel is not None:
            message.channel.publish(message)
        else:
            self._sender.send(message, message.on_done or (lambda error: None))
        if isinstance(message, Reply):
            message.was_sent = True

    def stop(self) -> None:
        """Wait until the broker has the last replies, and their requests are acked."""
        self._sender.stop()


class Settlement:
    """Acks a request, once, when its reply is confirmed; puts it back, once, when the reply is refused."""

    __slots__ = ("_is_done", "_request")

    def __init__(self, request: Delivery) -> None:
        self._request = request
        self._is_done = False

    def __call__(self, error: Exception | None) -> None:
        """Note the outcome of the reply."""
        if self._is_done:
            return
        self._is_done = True
        request = self._request
        if error is None:
            request.ack()
            return
        _log.error("the reply to %s was not taken by the broker: %s", request.routing_key, error)
        request.reject(requeue=not request.redelivered)
