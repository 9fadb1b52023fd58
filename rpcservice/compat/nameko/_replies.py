"""What nameko's clients know of replies, over the reply queue that the process has."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from rpcservice.amqp.link import Message
from rpcservice.amqp.replies import ReplyListener
from rpcservice.amqp.rpccall import RpcCall
from rpcservice.compat.nameko.exceptions import as_nameko


class ReplyEvent:
    """The reply to one request, to be waited for; called or asked to ``wait``, it gives the decoded body.

    Args:
        listener: The reply queue.
        call: What ends with the reply; None until the request is sent.
    """

    __slots__ = ("__weakref__", "_listener", "call")

    def __init__(self, listener: ReplyListener, call: RpcCall | None = None) -> None:
        self._listener = listener
        self.call = call

    def wait(self) -> Mapping[str, Any]:
        """Give the body of the reply: a mapping with ``result`` and ``error``.

        Raises:
            UnknownService: Nothing is bound for the service.
            RpcTimeout: There is no reply in time.
            ConnectionLost: The connection to the broker broke meanwhile.
        """
        call = self.call
        if call is None:
            raise RuntimeError("the request has not been sent, so that there is no reply to wait for")
        try:
            return {"result": call.result(), "error": None}
        except Exception as exc:
            reply = call.reply
            if reply is None:
                as_nameko(exc)
                raise
            # The caller makes an exception of it; a body that cannot be decoded raises here once more.
            body: Mapping[str, Any] = self._listener.codecs.decode(reply.body, reply.properties)
            return body

    __call__ = wait

    def ready(self) -> bool:
        """Say whether the reply is there."""
        return self.call is not None and self.call.is_done()


class Replies:
    """The reply queue of one broker, as nameko's clients use it.

    Args:
        listener: The process's reply queue.
    """

    def __init__(self, listener: ReplyListener) -> None:
        self.listener = listener
        self.routing_key = listener.routing_key
        self._prepared: dict[str, ReplyEvent] = {}
        # Weak, for who gives up its request does not say so.
        self.pending: WeakValueDictionary[str, ReplyEvent] = WeakValueDictionary()

    def register(self, correlation_id: str) -> ReplyEvent:
        """Expect a reply, whoever sends the request."""
        event = self.pending[correlation_id] = ReplyEvent(self.listener, self.listener.expect(correlation_id))
        return event

    def prepare(self, correlation_id: str) -> ReplyEvent:
        """Expect a reply to a request that is sent here, at once."""
        event = self._prepared[correlation_id] = ReplyEvent(self.listener)
        return event

    def send(self, message: Message) -> RpcCall:
        """Send a request whose reply is expected."""
        service_name, _, method_name = message.routing_key.rpartition(".")
        correlation_id = message.properties["correlation_id"]
        event = self._prepared.pop(correlation_id, None) or self.pending.pop(correlation_id, None)
        call = self.listener.send(message, service_name, method_name, message.timeout)
        if event is not None:
            event.call = call
        return call

    def forget(self, correlation_id: str) -> None:
        """Expect a reply no more: its request could not be sent."""
        self._prepared.pop(correlation_id, None)
        event = self.pending.pop(correlation_id, None)
        if event is not None and event.call is not None:
            self.listener.drop(event.call)
