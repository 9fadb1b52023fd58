"""nameko's RPC: @rpc, and the clients that services are given."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rpcservice.amqp import rpc as transport
from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import ConnectionKey, connection_key
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.message import REPLY_QUEUE_EXPIRES, deadline_of, request_arguments
from rpcservice.amqp.replies import ReplyListener as ReplyQueue
from rpcservice.compat.nameko._clients import Client as Client
from rpcservice.compat.nameko._clients import MethodProxy as MethodProxy
from rpcservice.compat.nameko._clients import RpcCall as RpcCall
from rpcservice.compat.nameko._clients import RpcReply as RpcReply
from rpcservice.compat.nameko._clients import ServiceProxy as ServiceProxy
from rpcservice.compat.nameko._handling import (
    Acknowledger,
    bury_first,
    comes_again,
    give_back,
    is_plain,
    see_to_failure,
    spawn_handler,
)
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko._outlets import RequestOutlet, broker_key
from rpcservice.compat.nameko._replies import Replies, ReplyEvent
from rpcservice.compat.nameko._responder import Responder as Responder
from rpcservice.compat.nameko._responder import send_reply
from rpcservice.compat.nameko._stages import exc_info_of
from rpcservice.compat.nameko.amqp._message import Message
from rpcservice.compat.nameko.amqp._topology import get_rpc_exchange as get_rpc_exchange
from rpcservice.compat.nameko.amqp._topology import make_queue, reply_queue
from rpcservice.compat.nameko.amqp.publish import Publisher as Publisher
from rpcservice.compat.nameko.exceptions import BadRequest, ContainerBeingKilled, MethodNotFound, describe
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint, ProviderCollector, SharedExtension
from rpcservice.compat.nameko.messaging import HeaderDecoder
from rpcservice.core.context import WorkerContext
from rpcservice.core.faults import summary

__all__ = (
    "RPC_REPLY_QUEUE_TEMPLATE",
    "RPC_REPLY_QUEUE_TTL",
    "Client",
    "ClusterRpc",
    "MethodProxy",
    "Proxy",
    "ReplyListener",
    "Responder",
    "Rpc",
    "RpcCall",
    "RpcConsumer",
    "RpcProxy",
    "RpcReply",
    "ServiceProxy",
    "ServiceRpc",
    "get_rpc_exchange",
    "rpc",
)

__getattr__ = missing_names(__name__)

RPC_QUEUE_TEMPLATE = "rpc-{}"
RPC_REPLY_QUEUE_TEMPLATE = "rpc.reply-{}-{}"
RPC_REPLY_QUEUE_TTL = REPLY_QUEUE_EXPIRES
RESTRICTED_PUBLISHER_OPTIONS = ("exchange", "routing_key", "mandatory", "reply_to", "correlation_id")
"""Options that RPC clients decide on themselves; given to one they are dropped."""

Register = Callable[[str], ReplyEvent]
"""Called with a correlation id; gives what waits for the reply."""

_log = logging.getLogger(__name__)


class RpcConsumer(SharedExtension, ProviderCollector):
    """The request queue of a service, as the extension that its ``@rpc`` methods share.

    Args:
        consumer_options: As of nameko 3; they have no effect.
    """

    def __init__(self, **consumer_options: Any) -> None:
        self.consumer_options = consumer_options
        self.queue: Any = None
        self.consumer: Any = None
        self._by_key: dict[str, Any] = {}

    def setup(self) -> None:
        """Prepare; the queue is declared with the connection."""
        host = self.container
        exchange = get_rpc_exchange(host.config)
        name = RPC_QUEUE_TEMPLATE.format(host.service_name)
        self.queue = make_queue(name, exchange=exchange, routing_key=f"{host.service_name}.*", durable=True)
        config = host.config
        prefetch = config.max_workers if config.prefetch_count is None else config.prefetch_count
        self.consumer = Acknowledger(config, [self.queue], prefetch, self.consumer_options)

    @property
    def queue_consumer(self) -> Any:
        """Acknowledges and requeues messages, under its name in nameko 2."""
        return self.consumer

    @property
    def is_plain(self) -> bool:
        """Whether all of this is nameko's own, so that the reader may call :meth:`handle_message`."""
        return is_plain(self, "handle_message", RpcConsumer) and is_plain(self, "get_provider_for_method", RpcConsumer)

    def register_provider(self, provider: Any) -> None:
        """Take in a method; its entrypoint calls it in ``setup``."""
        super().register_provider(provider)
        self._by_key[f"{self.container.service_name}.{provider.method_name}"] = provider
        requests = self.container.resource(transport.RpcConsumer, self.container.service_name)
        provider.requests = requests
        requests.add(provider)
        requests.responder.describe = describe
        if not self.is_plain:
            # It may know what to do with requests for none of the methods.
            requests.otherwise = provider

    def unregister_provider(self, provider: Any) -> None:
        """Take no more requests in; an entrypoint calls it in ``stop``."""
        provider.requests.end()
        super().unregister_provider(provider)

    def stop(self) -> None:
        """Nothing is left to be done: the entrypoints have stopped before."""

    def get_provider_for_method(self, routing_key: str) -> Any:
        """Give the entrypoint for a routing key.

        Raises:
            MethodNotFound: There is none.
        """
        provider = self._by_key.get(routing_key)
        if provider is None:
            known = tuple(sorted(provider.method_name for provider in self.providers))
            raise MethodNotFound(routing_key.rpartition(".")[2], known, self.container.service_name)
        return provider

    def handle_message(self, body: Any, message: Any) -> None:
        """Called for each request: hand it to the entrypoint of its method, or answer with the error.

        Args:
            body: The decoded body.
            message: The message, as kombu's.
        """
        routing_key, provider = message.delivery_info["routing_key"], None
        try:
            provider = self.get_provider_for_method(routing_key)
            provider.handle_message(body, message)
        except ContainerBeingKilled:
            give_back(message)
        except Exception as exc:
            if isinstance(exc, BadRequest):
                _log.warning("request %s: %s", routing_key, summary(exc))
            else:
                _log.exception("request %s could not be taken in", routing_key)
            failures = getattr(provider, "method_failures", None)
            bury_first(failures, message, exc, partial(self._refuse, message, exc))

    def _refuse(self, message: Any, error: Exception) -> None:
        try:
            self.handle_result(message, None, exc_info_of(error))
        except Exception as exc:
            _log.exception("request %s could not be refused", message.delivery_info["routing_key"])
            if not message.acknowledged:
                requests = self.container.resource(transport.RpcConsumer, self.container.service_name)
                send_reply(requests, message, None, exc_info_of(exc))

    def handle_result(self, message: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Send the reply to a request, then ack the request; gives what dependencies are to see of the outcome."""
        requests = self.container.resource(transport.RpcConsumer, self.container.service_name)
        return send_reply(requests, message, result, exc_info)

    def requeue_message(self, message: Any) -> None:
        """Put a request back on its queue."""
        self.consumer.requeue_message(message)


class Rpc(Entrypoint, transport.Rpc, HeaderDecoder):
    """Answers RPC calls with its method; use it as the decorator ``@rpc``."""

    rpc_consumer = RpcConsumer()
    requests: transport.RpcConsumer
    """The request queue; set when the entrypoint registers with its :attr:`rpc_consumer`."""

    def setup(self) -> None:
        """Join the service's request queue."""
        self.rpc_consumer.register_provider(self)

    def start(self) -> None:
        """Take requests in."""
        self.requests.begin()

    def stop(self) -> None:
        """Take no more requests in."""
        self.rpc_consumer.unregister_provider(self)

    def kill(self) -> None:
        """Take no more requests in, without waiting."""
        self.requests.abandon()

    def receive_delivery(self, request: Delivery, codecs: Codecs) -> None:
        """Handle a request: here where nothing of nameko's is overridden, else in a thread, for that may wait."""
        message = Message(request, codecs.decode)
        body = message.payload
        consumer = self.rpc_consumer
        if consumer.is_plain and is_plain(self, "handle_message", Rpc):
            consumer.handle_message(body, message)
        else:
            spawn_handler(self.container, consumer.handle_message, body, message, self._answer_with)

    def handle_message(self, body: Any, message: Any) -> None:
        """Called for each request: have a worker run the method, unless one still has this request.

        Args:
            body: The decoded body.
            message: The message, as kombu's.

        Raises:
            BadRequest: The body is no request, or its arguments do not fit the method.
        """
        if comes_again(self, message):
            return
        args, kwargs = request_arguments(body)
        self.check_signature(args, kwargs)
        try:
            self.container.spawn_worker(
                self,
                args,
                kwargs,
                context_data=self.unpack_message_headers(message),
                handle_result=partial(self.handle_result, message),
            )
        except ContainerBeingKilled:
            self.rpc_consumer.requeue_message(message)

    def handle_result(self, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Called when the method has ended; gives the result and the error that dependencies are to see."""
        if exc_info and not message.acknowledged:
            failures, deadline = getattr(self, "method_failures", None), deadline_of(message.headers)
            if not see_to_failure(failures, message, exc_info[1], deadline=deadline):
                return result, exc_info
        outcome: tuple[Any, Any] = self.rpc_consumer.handle_result(message, result, exc_info)
        return outcome

    def handle_result_failed(self, worker_ctx: Any, error: BaseException) -> None:
        """Answer a request whose ``handle_result`` broke down."""
        message = worker_ctx.incoming
        if message is not None and not message.acknowledged:
            self._answer_with(message, error)

    def _answer_with(self, message: Any, error: BaseException) -> None:
        answer = partial(send_reply, self.requests, message, None, exc_info_of(error))
        bury_first(getattr(self, "method_failures", None), message, error, answer)

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the request of a worker that did not finish back on its queue."""
        message = getattr(ctx, "incoming", None)
        if message is not None:
            give_back(message)
        elif ctx.message is not None:
            super().give_back(ctx)


rpc = Rpc.decorator


class ReplyListener(SharedExtension):
    """The reply queue of the process, as the extension that RPC clients of a service share.

    Args:
        consumer_options: As of nameko 3; they have no effect.
    """

    def __init__(self, **consumer_options: Any) -> None:
        self.consumer_options = consumer_options
        self.queue: Any = None

    def setup(self) -> None:
        """Ask for the reply queue; it is declared with the connection."""
        self._key = connection_key(self.container.config)
        self._by_key: dict[ConnectionKey, Replies] = {}
        replies = self.replies_of(self._key)
        self.routing_key = replies.routing_key
        self.queue = reply_queue(replies.listener.queue_name, replies.routing_key, self.container.config)

    def replies_of(self, key: ConnectionKey) -> Replies:
        """Give the reply queue on the broker of a connection."""
        known = self._by_key.get(key)
        if known is None:
            known = self._by_key[key] = Replies(self.container.resource(ReplyQueue, key))
        return known

    @property
    def pending(self) -> Mapping[str, ReplyEvent]:
        """What is waited for, by correlation id, of the requests that were not sent by our own publishers."""
        return self._by_key[self._key].pending

    def register_for_reply(self, correlation_id: str) -> ReplyEvent:
        """Expect a reply; gives a function that waits for it, and gives the decoded body."""
        return self._by_key[self._key].register(correlation_id)

    get_reply_event = register_for_reply

    def make_publisher(self, publisher_cls: type[Any], options: Mapping[str, Any]) -> tuple[Any, Register]:
        """Give a publisher of requests, and what their replies are to be expected by.

        Args:
            publisher_cls: Its class.
            options: Its options; without effect are those that RPC clients decide on themselves.
        """
        given = {name: value for name, value in options.items() if name not in RESTRICTED_PUBLISHER_OPTIONS}
        ssl, login_method = given.pop("ssl", None), given.pop("login_method", None)
        host = self.container
        key = broker_key(host, given.pop("uri", None), ssl, login_method, publishes=False)
        replies = self.replies_of(key)
        given.setdefault("serializer", host.serializer)
        publisher = publisher_cls(
            key.uri,
            ssl=dict(key.ssl) if isinstance(key.ssl, tuple) else key.ssl,
            login_method=key.login_method,
            exchange=get_rpc_exchange(host.config),
            reply_to=replies.routing_key,
            **given,
        )
        if not isinstance(publisher, Publisher):
            return publisher, replies.register
        publisher.outlet = RequestOutlet(host, replies)
        # A subclass may send requests in another way after all.
        return publisher, replies.prepare if type(publisher) is Publisher else replies.register


class ClusterRpc(DependencyProvider):
    """Injects a client for any service: ``self.cluster.products.price(sku)``, or with items in place of attributes.

    Args:
        publisher_options: ``uri``, ``ssl``, ``login_method``, and what
            :class:`rpcservice.compat.nameko.amqp.publish.Publisher` takes; ``timeout`` of our own is the seconds that
            a call may take.
    """

    publisher_cls: type[Any] = Publisher
    reply_listener = ReplyListener()

    def __init__(self, **publisher_options: Any) -> None:
        self.publisher_options = publisher_options

    @property
    def rpc_reply_listener(self) -> ReplyListener:
        """The reply listener, under its name in nameko 2."""
        return self.reply_listener

    def setup(self) -> None:
        """Ask for the reply queue."""
        self.publisher, self._register = self.reply_listener.make_publisher(self.publisher_cls, self._options())

    def _options(self) -> Mapping[str, Any]:
        # A subclass may have a constructor of its own, in the manner of nameko 2.
        options: Mapping[str, Any] | None = vars(self).get("publisher_options", vars(self).get("options"))
        return options or {}

    def get_dependency(self, worker_ctx: WorkerContext) -> Any:
        """Give the worker a client that sends the worker's context data along."""
        client = Client(self.publisher.publish, self._register, worker_ctx.context_data)
        client.worker_ctx = worker_ctx
        return client


class ServiceRpc(ClusterRpc):
    """Injects a client for one service: ``self.products.price(sku)``.

    Args:
        target_service: The service to call.
        publisher_options: As for :class:`ClusterRpc`.
    """

    def __init__(self, target_service: str, **publisher_options: Any) -> None:
        super().__init__(**publisher_options)
        self.target_service = target_service
        self.options = publisher_options

    def get_dependency(self, worker_ctx: WorkerContext) -> Any:
        """Give the worker a client that sends the worker's context data along."""
        return super().get_dependency(worker_ctx)[self.target_service]


RpcProxy = ServiceRpc
Proxy = Client
