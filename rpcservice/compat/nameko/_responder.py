"""How requests are answered: on the service's own connection, or by a Responder of nameko's."""

from typing import Any

from rpcservice.amqp import rpc as transport
from rpcservice.compat.nameko._stages import exc_info_of
from rpcservice.compat.nameko.amqp._topology import serializer_for
from rpcservice.compat.nameko.amqp.publish import Publisher
from rpcservice.compat.nameko.exceptions import UnserializableValueError, serialize
from rpcservice.errors import MessageTooLarge


def send_reply(requests: transport.RpcConsumer, message: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
    """Send the reply to a request and ack the request; gives the outcome as it was sent.

    Args:
        requests: The request queue.
        message: The request, as kombu's messages look.
        result: What the method returned.
        exc_info: What it raised, as the triple of ``sys.exc_info()``.
    """
    request = message.delivery
    responder = requests.responder
    error = exc_info[1] if exc_info else None
    try:
        codec, body = responder.encode(request, result, error)
    except (UnserializableValueError, MessageTooLarge) as exc:
        result, exc_info = None, exc_info_of(exc.__cause__ or exc)
        codec, body = responder.encode(request, None, exc)
    if message.acknowledged:
        reply = responder.reply(request, codec, body)
        if reply is not None:
            reply.on_done = None
            responder.send(reply)
        return result, exc_info
    message.mark("ACK")
    try:
        requests.answer(request, codec, body)
    except Exception as exc:
        result, exc_info = None, exc_info_of(exc)
        requests.answer_plainly(request, exc)
    return result, exc_info


class Responder:
    """Sends the reply to one request by a publisher of its own; the entrypoints of a service do without it.

    Args:
        amqp_uri: The broker.
        exchange: The exchange of replies.
        serializer_and_message: The message, as of nameko 3; before it a serializer, as of nameko 2, without effect.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
    """

    publisher_cls: type[Any] = Publisher

    def __init__(
        self, amqp_uri: str, exchange: Any, *serializer_and_message: Any, ssl: Any = None, login_method: Any = None
    ) -> None:
        self.amqp_uri = amqp_uri
        self.exchange = exchange
        self.message = serializer_and_message[-1]
        self.ssl = ssl
        self.login_method = login_method

    def send_response(self, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Send the reply, in the serializer of the request; gives the outcome as it was sent."""
        error = serialize(exc_info[1]) if exc_info else None
        try:
            self._publish({"result": result, "error": error})
        except UnserializableValueError as exc:
            self._publish({"result": None, "error": serialize(exc)})
            return None, exc_info_of(exc.__cause__ or exc)
        return result, exc_info

    def _publish(self, payload: dict[str, Any]) -> None:
        properties = self.message.properties
        publisher = self.publisher_cls(self.amqp_uri, ssl=self.ssl, login_method=self.login_method)
        publisher.publish(
            payload,
            serializer=serializer_for(properties.get("content_type")),
            exchange=self.exchange,
            routing_key=properties["reply_to"],
            correlation_id=properties.get("correlation_id"),
        )
