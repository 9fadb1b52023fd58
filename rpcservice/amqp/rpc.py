"""@rpc, the entrypoint that answers calls."""

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from time import time
from typing import Any

from rpcservice.amqp.codec import Codec, Codecs
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.deadletters import Route, declare_dead_letters, shared_arguments
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.failures import Failures, keeps_dead_letters
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.localcalls import LocalRequest, LocalServices
from rpcservice.amqp.longwork import LongWork, take_over
from rpcservice.amqp.message import context_from_headers, deadline_of, request_arguments
from rpcservice.amqp.responder import Responder
from rpcservice.amqp.stalls import Stalls
from rpcservice.core.context import WorkerContext
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.extension import Host
from rpcservice.core.faults import safe_text
from rpcservice.core.idempotency import check_idempotent
from rpcservice.core.once import Once
from rpcservice.core.resource import Resource
from rpcservice.core.retry import Retry, as_retry
from rpcservice.errors import BadRequest, DeadlineExceeded, MethodNotFound

_log = logging.getLogger(__name__)


def request_queue(service_name: str) -> str:
    """Give the name of the queue for the requests to a service."""
    return f"rpc-{service_name}"


class RpcConsumer(Resource):
    """The request queue of one service, all of its methods together; its key is the service's name.

    Attributes:
        methods: The entrypoints by the names of their methods.
        otherwise: The entrypoint that is handed requests for none of these methods; without one they are refused.
        received_here: How many requests came from this process itself.
    """

    key: str

    def setup(self) -> None:
        """Prepare; the queue is declared with the connection."""
        self.methods: dict[str, Rpc] = {}
        self.otherwise: Rpc | None = None
        self._host: Host | None = None
        self._received = 0
        self.received_here = 0
        self._drops = self.resources.get(Drops)
        self._local = self.resources.get(LocalServices)
        self.responder = self.resources.get(Responder)
        self._codecs = self.responder.codecs

    def add(self, entrypoint: "Rpc") -> None:
        """Take in a method; the first one brings the queue."""
        entrypoint.method_failures = Failures(
            entrypoint, connection_key(self.config), entrypoint.method_retry, entrypoint.method_dead_letters
        )
        if entrypoint.method_idempotent is not None:
            dump, load = self._codecs.dump_named, self._codecs.load_named
            entrypoint.method_once = Once(entrypoint, entrypoint.method_idempotent, dump, load)
        self.resources.get(LongWork).add(entrypoint)
        if self._host is None:
            self._host = host = entrypoint.bound_to
            self._send = host.around("publish", self.responder.send)
            self._is_hooked = self._send != self.responder.send
            self._take = host.around("receipt", self._receive)
            channel = self.resources.get(ServiceChannel, (connection_key(self.config), self.key))
            prefetch = self.config.prefetch_count if self.config.prefetch_count is not None else self.config.max_workers
            # For the broker a count of 0 is no limit; here too.
            self._most_waiting = prefetch or inf
            self._consumer = Consumer(channel, self._declare, self.receive, prefetch)
            self.resources.get(Stalls).add(channel, self._consumer, self.methods.values, self.count)
        self.methods[entrypoint.method_name] = entrypoint

    def count(self) -> int:
        """Give how many requests the broker has given."""
        return self._received - self.received_here

    def is_full(self) -> bool:
        """Say whether as many calls wait for a worker as the broker would give out: more are for the queue."""
        return self._host is not None and self._host.count_waiting() >= self._most_waiting

    def _declare(self, channel: LinkChannel) -> str:
        queue, exchange = request_queue(self.key), self.config.rpc_exchange
        channel.declare_exchange(exchange, "topic", durable=True)
        arguments = shared_arguments(self.config, queue)
        if arguments:
            declare_dead_letters(channel, queue, self.config)
        channel.declare_queue(queue, durable=True, arguments=arguments)
        channel.bind_queue(queue, exchange, f"{self.key}.*")
        for entrypoint in self.methods.values():
            entrypoint.method_failures.declare(channel, queue)
        return queue

    def begin(self) -> None:
        """Take requests in."""
        self._consumer.start()
        self._local.add(self)

    def end(self) -> None:
        """Take no more requests in."""
        self._local.remove(self)
        self._consumer.stop()

    def abandon(self) -> None:
        """Take no more requests in, without waiting."""
        self._local.remove(self)
        self._consumer.kill()

    def receive(self, request: Delivery) -> None:
        """Take a request in; where a hook fails, it fails this request alone."""
        received = self._received
        try:
            self._take(request)
        except Exception as exc:
            _log.exception("request %s: an around_receipt hook failed", request.routing_key)
            if self._received == received:
                self.refuse(request, exc)

    def _receive(self, request: Delivery) -> None:
        self._received += 1
        if request.is_local:
            self.received_here += 1
        name = request.routing_key.rpartition(".")[2]
        try:
            entrypoint = self.methods.get(name, self.otherwise)
            if entrypoint is None:
                raise MethodNotFound(name, tuple(sorted(self.methods)), self.key)
            entrypoint.receive_delivery(request, self._codecs)
        except BadRequest as exc:
            _log.warning("request %s: %s", request.routing_key, safe_text(exc))
            self._turn_away(request, exc)
        except Exception as exc:
            _log.exception("request %s could not be taken in", request.routing_key)
            self._turn_away(request, exc)

    def _turn_away(self, request: Delivery, error: Exception) -> None:
        """Answer a request that gets no worker, and keep it where its method keeps dead letters."""
        entrypoint = self.methods.get(request.routing_key.rpartition(".")[2])
        if entrypoint is None or not entrypoint.method_dead_letters:
            self.refuse(request, error)
        else:
            way_back, done = Route(request.exchange, request.routing_key), partial(self._answer_error, request, error)
            entrypoint.method_failures.bury_later(request, error, way_back, done)

    def refuse(self, request: Delivery, error: Exception) -> None:
        """Answer a request that gets no worker; one that asks for no reply is dropped."""
        if "reply_to" not in request.properties:
            self._drops.note(request, f"{self.key}", error)
        self._answer_error(request, error)

    def _answer_error(self, request: Delivery, error: Exception) -> None:
        try:
            self.answer(request, *self.responder.encode(request, None, error))
        except Exception as exc:
            self.answer_plainly(request, exc)

    def answer(self, request: Delivery, codec: Codec, body: bytes) -> None:
        """Send the reply to a request, then ack the request."""
        if type(request) is LocalRequest and not self._is_hooked:
            request.answer(codec, body)
        else:
            self._answer(request, codec, body, self._send)

    def answer_plainly(self, request: Delivery, error: Exception) -> None:
        """Answer a request whose reply could not be sent, with that error and without the hooks that made it."""
        _log.error("the reply to %s could not be sent", request.routing_key, exc_info=error)
        codec, body = self.responder.encode(request, None, error)
        self._answer(request, codec, body, self.responder.send)

    def _answer(self, request: Delivery, codec: Codec, body: bytes, send: Callable[[Message], Any]) -> None:
        if not request.channel.is_open:
            # The broker gives the request to somebody else; our own callers know that the connection broke.
            _log.warning("request %s: the connection broke, so its outcome is dropped", request.routing_key)
            return
        message = self.responder.reply(request, codec, body)
        if message is None:
            request.ack()
            return
        message.was_sent = False
        try:
            send(message)
        except Exception:
            if not message.was_sent:
                raise
            _log.exception("an around_publish hook failed when the reply to %s was sent", request.routing_key)
        if message.on_done is None:
            request.ack()
        elif not message.was_sent:
            # A hook has kept it back, so no confirm will come.
            message.on_done(None)


class Rpc(Entrypoint):
    """Answers RPC calls with its method; use it as the decorator ``@rpc``.

    Args:
        retry: A :class:`~rpcservice.Retry`: how often a request is tried again when the method raises, and after which
            pauses, for which it waits in the broker and its caller for the reply; not past the caller's time-out. True
            is the usual one.
        dead_letter: Keep a request in ``rpc-<service>.dead``, beside the error that its caller gets, when it was tried
            for the last time or cannot be decoded.
        idempotent: Run the method once for each key, and answer duplicates with the result that it gave. True takes the
            request's ``message_id`` for the key, which callers on nameko do not set; a function gets the method's
            arguments and gives a text, a whole number or a UUID.
        options: As for every entrypoint.
    """

    stop_phase = "serving"
    method_failures: Failures
    """What becomes of requests that could not be carried out; set when the entrypoint joins the request queue."""
    method_retry: Retry | None = None
    method_dead_letters = False
    method_idempotent: Any = None

    def __init__(
        self, *, retry: Any = None, dead_letter: bool = False, idempotent: Any = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.method_idempotent = check_idempotent(idempotent)
        self.method_retry = as_retry(retry)
        self.method_dead_letters = keeps_dead_letters(dead_letter, None)

    def setup(self) -> None:
        """Join the service's request queue."""
        self._consumer = self.bound_to.resource(RpcConsumer, self.bound_to.service_name)
        self._consumer.add(self)

    def start(self) -> None:
        """Take requests in."""
        self._consumer.begin()

    def stop(self) -> None:
        """Take no more requests in."""
        self._consumer.end()

    def kill(self) -> None:
        """Take no more requests in, without waiting."""
        self._consumer.abandon()

    def receive_delivery(self, request: Delivery, codecs: Codecs) -> None:
        """Have a worker carry a request out; called in the reader, so it must not wait.

        Raises:
            BadRequest: The request cannot be decoded, or its arguments do not fit the method.
        """
        if request.redelivered and take_over(self, request):
            return
        args, kwargs = request_arguments(codecs.decode(request.body, request.properties))
        self.check_signature(args, kwargs)
        context = context_from_headers(request.headers)
        self.bound_to.spawn_worker(self, args, kwargs, context_data=context, message=request)

    def encode(self, ctx: WorkerContext) -> None:
        """Encode the outcome in the request's own serializer."""
        ctx.reply = self._consumer.responder.encode(ctx.message, ctx.result, ctx.error)

    def method_deadline(self, ctx: WorkerContext) -> float | None:
        """Give until when the caller waits for the reply."""
        return None if ctx.message is None else deadline_of(ctx.message.headers)

    def method_refusal(self, ctx: WorkerContext) -> Exception | None:
        """Give why a request is not to be carried out any more: nobody waits for the reply."""
        deadline = self.method_deadline(ctx)
        late = 0 if deadline is None else time() - deadline
        if late <= self.bound_to.config.clock_skew:
            return None
        return DeadlineExceeded(f"{ctx.entrypoint.describe()} was not run: its caller gave up {late:.3g} s ago", late)

    def settle(self, ctx: WorkerContext) -> None:
        """Send the reply, then ack the request; a reply that cannot be sent gives way to the error."""
        request, error = ctx.message, ctx.error
        if error is not None:
            # By the exchange that requests go to, so that any instance of the service can take it.
            way_back = Route(request.exchange, request.routing_key)
            if self.method_failures.try_again(ctx, error, way_back, self.method_deadline(ctx)):
                return
            if not self.method_failures.bury(ctx, error, way_back):
                return
        try:
            self._consumer.answer(ctx.message, *ctx.reply)
        except Exception as exc:
            ctx.error, ctx.result = exc, None
            self._consumer.answer_plainly(ctx.message, exc)

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the request back on its queue."""
        ctx.message.reject(requeue=True)

    @property
    def method_may_be_local(self) -> bool:
        """Whether requests may come without the broker: the method promises nothing that only a queue can keep."""
        promises = self.method_retry is not None or self.method_dead_letters or self.method_idempotent is not None
        return not promises and type(self).receive_delivery is Rpc.receive_delivery

    @property
    def queue_with_dead_letters(self) -> str | None:
        """The name of the queue whose dead letters are kept; None where they are not."""
        return request_queue(self.bound_to.service_name) if self.method_dead_letters else None

    def describe(self) -> str:
        """Name the method as callers do."""
        return f"rpc {self.bound_to.service_name}.{self.method_name}"


rpc = Rpc.decorator
