"""nameko's @rpc and its clients, and the places where extensions of others change what they do."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import eventlet
import pytest
from under_nameko import standing_in
from waiting import wait_until
from wire import Inbox, Wire

from rpcservice import errors
from rpcservice import rpc as own_rpc
from rpcservice.compat.nameko.amqp.publish import Publisher
from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.exceptions import (
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    UnknownService,
    UnserializableValueError,
    deserialize_to_instance,
)
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.compat.nameko.rpc import (
    Client,
    ClusterRpc,
    MethodProxy,
    ReplyListener,
    Responder,
    Rpc,
    RpcCall,
    RpcConsumer,
    RpcProxy,
    RpcReply,
    ServiceProxy,
    ServiceRpc,
    get_rpc_exchange,
    rpc,
)
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import Event, green
from rpcservice.testing import entrypoint_hook

Serve = Callable[..., ServiceRunner]
Call = Callable[..., Any]


@deserialize_to_instance
class SoldOut(Exception):
    """An error that callers know by its class."""


class Products:
    """What the other services of these tests call."""

    name = "products"

    @rpc
    def price(self, sku: str, currency: str = "EUR") -> dict[str, Any]:
        return {"sku": sku, "currency": currency}

    @rpc(expected_exceptions=SoldOut)
    def buy(self) -> None:
        raise SoldOut("red")

    @rpc
    def fail(self) -> None:
        raise ValueError("broken")

    @rpc
    def odd(self) -> object:
        return object()


def calling(provider: Any) -> type:
    """Make a service that gives a function of the test what a provider injects."""

    class Calling:
        name = "calling"
        client = provider

        @rpc
        def run(self, function: Callable[[Any], Any]) -> Any:
            return function(self.client)

    return Calling


def run(runner: ServiceRunner, function: Callable[[Any], Any]) -> Any:
    """Run a function in a worker of ``calling``, with what is injected there."""
    with entrypoint_hook(runner.service_map["calling"], "run") as hook:
        return hook(function)


# Clients


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.products.price("red", currency="USD"),
        lambda client: client["products"].price("red", currency="USD"),
        lambda client: client["products"]["price"]("red", currency="USD"),
        lambda client: client.products.price.call_async("red", currency="USD").result(),
    ],
)
def test_a_cluster_client_calls_by_attribute_and_by_item(serve: Serve, call: Call) -> None:
    runner = serve(Products, calling(ClusterRpc()))
    assert run(runner, call) == {"sku": "red", "currency": "USD"}


@pytest.mark.parametrize("provider", [RpcProxy("products"), ServiceRpc("products")])
def test_a_service_client_calls_by_attribute_and_by_item(serve: Serve, provider: Any) -> None:
    runner = serve(Products, calling(provider))
    assert run(runner, lambda client: (client.price("red"), client["price"]("red"))) == (
        {"sku": "red", "currency": "EUR"},
        {"sku": "red", "currency": "EUR"},
    )


def test_results_are_taken_in_any_order_and_again(serve: Serve) -> None:
    def call(client: Any) -> Any:
        calls = [client.price.call_async(sku) for sku in ("red", "blue")]
        return [calls[index].result()["sku"] for index in (1, 0, 1)]

    assert run(serve(Products, calling(RpcProxy("products"))), call) == ["blue", "red", "blue"]


def test_an_error_is_raised_again_with_each_result(serve: Serve) -> None:
    def call(client: Any) -> None:
        started = client.fail.call_async()
        for _ in range(2):
            with pytest.raises(RemoteError, match="ValueError broken"):
                started.result()

    run(serve(Products, calling(RpcProxy("products"))), call)


@pytest.mark.parametrize(("name", "text"), [(None, r"\*\.\*"), ("products", r"products\.\*")])
def test_a_client_without_a_method_cannot_be_called(serve: Serve, name: str | None, text: str) -> None:
    def call(client: Any) -> None:
        with pytest.raises(ValueError, match=f"Cannot call unspecified method {text}"):
            (client if name is None else client[name])()

    run(serve(Products, calling(ClusterRpc())), call)


def test_nothing_comes_after_a_method(serve: Serve) -> None:
    def call(client: Any) -> None:
        with pytest.raises(AttributeError, match="further"):
            _ = client.products.price.further

    run(serve(Products, calling(ClusterRpc())), call)


def test_a_client_says_what_it_calls(serve: Serve) -> None:
    """As instrumentation of others asks it to."""

    def call(client: Any) -> Any:
        method = client.products.price
        return isinstance(method, Client), method.identifier, method.fully_specified, client.fully_specified

    assert run(serve(Products, calling(ClusterRpc())), call) == (True, "products.price", True, False)


@pytest.mark.parametrize(
    ("method", "args", "error", "text"),
    [
        ("absent", (), MethodNotFound, "absent"),
        ("price", (), IncorrectSignature, "sku"),
        ("fail", (), RemoteError, "ValueError broken"),
        ("buy", (), SoldOut, "red"),
        ("odd", (), UnserializableValueError, "object"),
    ],
)
def test_errors_reach_the_caller(
    serve: Serve, method: str, args: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    def call(client: Any) -> None:
        with pytest.raises(error, match=text):
            client[method](*args)

    run(serve(Products, calling(RpcProxy("products"))), call)


def test_an_unknown_service_is_an_error(serve: Serve) -> None:
    def call(client: Any) -> None:
        with pytest.raises(UnknownService, match="absent"):
            client.absent.method()

    run(serve(Products, calling(ClusterRpc())), call)


def test_an_argument_that_cannot_be_sent_is_an_error_and_leaves_nothing_behind(serve: Serve) -> None:
    def call(client: Any) -> None:
        with pytest.raises(UnserializableValueError, match="object"):
            client.price(object())

    runner = serve(Products, calling(RpcProxy("products")))
    run(runner, call)
    (listener,) = [part for part in runner.service_map["calling"].subextensions if isinstance(part, ReplyListener)]
    assert not listener.pending


def test_options_of_a_client_go_with_each_request(serve: Serve, wire: Wire) -> None:
    """But for those that a client decides on itself, which are dropped."""
    options = {"headers": {"fixed": "h"}, "priority": 3, "expiration": 7, "exchange": None, "reply_to": "elsewhere"}
    requests = wire.tap("nameko-rpc", "products.*")
    runner = serve(Products, calling(RpcProxy("products", routing_key="x.y", mandatory=False, **options)))
    assert run(runner, lambda client: client.price("red")["sku"]) == "red"
    properties = requests.take().properties
    assert (properties["headers"]["fixed"], properties["priority"], properties["expiration"]) == ("h", 3, "7000")
    assert properties["headers"]["nameko.call_id_stack"][0].startswith("calling.run.")


def test_a_client_may_have_a_serializer_of_its_own(serve: Serve, wire: Wire) -> None:
    """The reply comes in the same."""
    requests = wire.tap("nameko-rpc", "products.*")
    runner = serve(Products, calling(RpcProxy("products", serializer="pickle")), ACCEPT=["json", "pickle"])
    assert run(runner, lambda client: client.price(("a", "tuple"))["sku"]) == ("a", "tuple")
    assert requests.take().properties["content_type"] == "application/x-python-serialize"


def test_what_a_worker_adds_to_its_context_data_travels(serve: Serve) -> None:
    """The dictionary is one and the same for everybody in the worker."""

    class Asked:
        name = "asked"
        context = RecordContext()

        @rpc
        def language(self) -> Any:
            return self.context["language"]

    class Asking:
        name = "asking"
        asked = RpcProxy("asked")
        context = RecordContext()

        @rpc
        def ask(self) -> Any:
            self.context["language"] = "de"
            return self.asked.language()

    runner = serve(Asked, Asking)
    with entrypoint_hook(runner.service_map["asking"], "ask") as ask:
        assert ask() == "de"


class RecordContext(DependencyProvider):
    """Injects the context data."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        return worker_ctx.context_data


# Clients as others build and change them


def test_proxies_of_nameko_2_are_made_by_hand(serve: Serve) -> None:
    """As subclasses of RpcProxy do that bring proxies of their own."""

    class OwnMethod(MethodProxy):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "own", super().__call__(*args, **kwargs)

    class OwnService(ServiceProxy):
        def __getattr__(self, name: str) -> Any:
            return OwnMethod(self.worker_ctx, self.service_name, name, self.reply_listener, **self.options)

    class OwnProxy(RpcProxy):
        def __init__(self, target_service: str, **options: Any) -> None:
            self.target_service = target_service
            self.options = options

        def get_dependency(self, worker_ctx: Any) -> Any:
            return OwnService(worker_ctx, self.target_service, self.rpc_reply_listener, **self.options)

    runner = serve(Products, calling(OwnProxy("products", priority=1)))
    assert run(runner, lambda client: client.price("red")) == ("own", {"sku": "red", "currency": "EUR"})


def test_a_service_proxy_of_nameko_2_makes_method_proxies(serve: Serve) -> None:
    class Plain(RpcProxy):
        def get_dependency(self, worker_ctx: Any) -> Any:
            return ServiceProxy(worker_ctx, self.target_service, self.rpc_reply_listener, **self.options)

    def call(client: Any) -> Any:
        assert isinstance(client.price, MethodProxy)
        return client.price.container.service_name, client.price.call_async("red").result()["sku"]

    assert run(serve(Products, calling(Plain("products"))), call) == ("calling", "red")


def test_a_reply_of_nameko_2_is_made_of_a_reply_event(serve: Serve) -> None:
    """As tracers do that wrap ``MethodProxy._call``."""

    def call(client: Any) -> Any:
        started = client.price._call("red")
        reply = RpcReply(started.reply_event)
        assert reply.resp_body is None
        return reply.result()["sku"], dict(reply.resp_body or {})

    assert run(serve(Products, calling(RpcProxy("products"))), call) == (
        "red",
        {"result": {"sku": "red", "currency": "EUR"}, "error": None},
    )


def test_a_subclass_of_the_call_sees_the_response(serve: Serve) -> None:
    """As caches do that bring a client and a call of their own, made of the same parts."""
    responses = []

    class OwnCall(RpcCall):
        def get_response(self) -> Any:
            responses.append(super().get_response())
            return responses[-1]

    class OwnClient(Client):
        def __getattr__(self, name: str) -> Any:
            service, method = (self.service_name, name) if self.service_name else (name, None)
            return OwnClient(self.publish, self.register_for_reply, self.context_data, service, method)

        def _call(self, *args: Any, **kwargs: Any) -> Any:
            send = partial(
                self.publish, routing_key=self.identifier, mandatory=True, correlation_id="mine", extra_headers={}
            )
            call = OwnCall("mine", send, self.register_for_reply("mine"))
            call.send_request(*args, **kwargs)
            return call

    class OwnRpc(ClusterRpc):
        def get_dependency(self, worker_ctx: Any) -> Any:
            register = self.reply_listener.register_for_reply
            return OwnClient(self.publisher.publish, register, worker_ctx.context_data)

    runner = serve(Products, calling(OwnRpc()))
    assert run(runner, lambda client: client.products.price("red")["sku"]) == "red"
    assert responses == [{"result": {"sku": "red", "currency": "EUR"}, "error": None}]
    with pytest.raises(SoldOut):
        run(runner, lambda client: client.products.buy())
    assert responses[-1]["error"]["exc_type"] == "SoldOut"


def test_a_publisher_class_sees_each_request(serve: Serve) -> None:
    published = []

    class OwnPublisher(Publisher):
        priority = 5

        def publish(self, payload: Any, **kwargs: Any) -> Any:
            published.append((self.priority, payload, kwargs["routing_key"]))
            return super().publish(payload, **kwargs)

    class OwnRpc(ServiceRpc):
        publisher_cls = OwnPublisher

    runner = serve(Products, calling(OwnRpc("products")))
    assert run(runner, lambda client: client.price("red")["sku"]) == "red"
    assert published == [(5, {"args": ("red",), "kwargs": {}}, "products.price")]


def test_a_reply_is_waited_for_whoever_sends_the_request(serve: Serve, wire: Wire) -> None:
    """A publisher need not be one of ours."""

    class OwnPublisher:
        def __init__(self, amqp_uri: str, **options: Any) -> None:
            self.options = options

        def publish(self, payload: Any, *, routing_key: str, correlation_id: str, **kwargs: Any) -> None:
            reply_to = self.options["reply_to"]
            properties = {"content_type": "application/json", "reply_to": reply_to, "correlation_id": correlation_id}
            wire.publish(self.options["exchange"].name, routing_key, json.dumps(payload).encode(), **properties)

    class OwnRpc(ServiceRpc):
        publisher_cls = OwnPublisher

    runner = serve(Products, calling(OwnRpc("products")))
    assert run(runner, lambda client: client.price("red")["sku"]) == "red"


def test_a_reply_event_is_ready_when_the_reply_is_there(serve: Serve) -> None:
    def call(client: Any) -> Any:
        started = client.price.call_async("red")
        started.result()
        return started.reply_event.ready()

    assert run(serve(Products, calling(RpcProxy("products"))), call) is True


# Entrypoints as others change them


def own_entrypoint(**methods: Any) -> Any:
    """Make the decorator of a subclass of Rpc with other methods."""
    return type("OwnRpc", (Rpc,), methods).decorator


def answering(decorator: Any, *providers: Any) -> type:
    """Make a service with one method, and with providers."""

    class Answering:
        name = "answering"
        first, second = (*providers, None, None)[:2]

        @decorator
        def answer(self, value: Any = "given") -> Any:
            if value == "fail":
                raise ValueError("failed")
            return object() if value == "odd" else f"answer {value}"

    return Answering


def test_handle_message_gets_the_body_and_the_message(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    def handle_message(self: Any, body: Any, message: Any) -> None:
        inbox((body, message))
        Rpc.handle_message(self, {"args": ["other"], "kwargs": {}}, message)

    serve(answering(own_entrypoint(handle_message=handle_message)))
    assert rpc.answering.answer("mine") == "answer other"
    body, message = inbox.take()
    assert body == {"args": ["mine"], "kwargs": {}}
    assert message.delivery_info["routing_key"] == "answering.answer"
    assert (message.payload, json.loads(message.body)) == (body, body)


def test_handle_message_may_wait(serve: Serve, rpc: Any) -> None:
    """Other messages come in meanwhile, those that it waits for as well."""
    released: Event = green().event()

    def handle_message(self: Any, body: Any, message: Any) -> None:
        assert released.wait(10)
        Rpc.handle_message(self, body, message)

    class Releasing:
        name = "releasing"

        @rpc_decorator
        def release(self) -> None:
            released.set()

    serve(answering(own_entrypoint(handle_message=handle_message)), Releasing)
    call = rpc.answering.answer.call_async()
    rpc.releasing.release()
    assert call.result() == "answer given"


rpc_decorator = rpc


def test_an_error_of_handle_message_is_the_answer(serve: Serve, rpc: Any) -> None:
    """Once: the request does not come again, and the service goes on."""
    handled = []

    def handle_message(self: Any, body: Any, message: Any) -> None:
        handled.append(body)
        raise ValueError("cannot be handled")

    serve(answering(own_entrypoint(handle_message=handle_message)))
    for count in (1, 2):
        with pytest.raises(RemoteError, match="ValueError cannot be handled"):
            rpc.answering.answer()
        assert len(handled) == count


def test_handle_result_may_replace_the_outcome(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    """For the caller as for the providers, which come after it."""

    def handle_result(self: Any, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        return Rpc.handle_result(self, message, worker_ctx, f"replaced {result}", None)

    serve(answering(own_entrypoint(handle_result=handle_result), Watcher(inbox)))
    assert rpc.answering.answer("fail") == "replaced None"
    assert inbox.take() == ("result", "replaced None", None)


def test_an_error_of_handle_result_is_the_answer(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    """It kills nothing, and the request is not carried out again."""

    def handle_result(self: Any, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        raise KeyError("cannot be sent")

    runner = serve(answering(own_entrypoint(handle_result=handle_result), Watcher(inbox)))
    for _ in range(2):
        with pytest.raises(RemoteError, match="cannot be sent"):
            rpc.answering.answer()
        kind, result, exc_info = inbox.take()
        assert (kind, result, exc_info[0]) == ("result", None, KeyError)
    assert len(inbox) == 0
    assert runner.service_map["answering"].wait(0) is False


def test_a_request_that_was_acked_already_is_answered_all_the_same(serve: Serve, rpc: Any) -> None:
    """An extension may ack by itself; a second ack would cost the channel."""

    def handle_result(self: Any, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        self.rpc_consumer.consumer.ack_message(message)
        return Rpc.handle_result(self, message, worker_ctx, result, exc_info)

    serve(answering(own_entrypoint(handle_result=handle_result)))
    assert [rpc.answering.answer(value) for value in (1, 2)] == ["answer 1", "answer 2"]


class Watcher(DependencyProvider):
    """Tells of the steps of a worker that follow the method."""

    def __init__(self, seen: Any, block: Any = None) -> None:
        self.seen = seen
        self.block = block

    def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
        self.seen(("result", result, exc_info))
        if self.block is not None:
            assert self.block.wait(10)

    def worker_teardown(self, worker_ctx: Any) -> None:
        if self.block is not None:
            self.seen("teardown")


def test_the_caller_has_its_reply_before_providers_have_the_result(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    block: Event = green().event()
    serve(answering(rpc_decorator, Watcher(inbox, block)))
    assert rpc.answering.answer() == "answer given"
    assert inbox.take() == ("result", "answer given", None)
    assert len(inbox) == 0
    block.set()
    assert inbox.take() == "teardown"


def test_providers_see_why_a_result_could_not_be_sent(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    serve(answering(rpc_decorator, Watcher(inbox)))
    with pytest.raises(UnserializableValueError):
        rpc.answering.answer("odd")
    _, result, exc_info = inbox.take()
    assert (result, exc_info[0]) == (None, TypeError)


def test_providers_see_the_error_of_the_method(serve: Serve, rpc: Any, inbox: Inbox) -> None:
    serve(answering(rpc_decorator, Watcher(inbox)))
    with pytest.raises(RemoteError):
        rpc.answering.answer("fail")
    _, result, (error_type, error, traceback) = inbox.take()
    assert (result, error_type, str(error)) == (None, ValueError, "failed")
    assert traceback is not None


def test_context_data_is_unpacked_as_a_subclass_says(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    def unpack_message_headers(self: Any, message: Any) -> Any:
        return {"unpacked": message.headers["x-own"]}

    class Told(DependencyProvider):
        def worker_setup(self, worker_ctx: Any) -> None:
            inbox((worker_ctx.data["unpacked"], worker_ctx.message.headers["x-own"]))

    serve(answering(own_entrypoint(unpack_message_headers=unpack_message_headers), Told()))
    wire.request("answering.answer", headers={"x-own": "yes"})
    assert inbox.take() == ("yes", "yes")


def test_a_consumer_of_anothers_hands_requests_out(serve: Serve, rpc: Any, wire: Wire) -> None:
    """Those for no method as well: it may know better."""

    class OwnConsumer(RpcConsumer):
        def handle_message(self, body: Any, message: Any) -> None:
            key = message.headers.get("x-method", message.delivery_info["routing_key"])
            self.get_provider_for_method(key).handle_message(body, message)

    serve(answering(own_entrypoint(rpc_consumer=OwnConsumer())))
    assert rpc.answering.answer() == "answer given"
    reply = wire.request("answering.other", headers={"x-method": "answering.answer"})
    assert json.loads(reply.body) == {"result": "answer given", "error": None}
    with pytest.raises(errors.MethodNotFound, match="absent"):
        rpc.answering.absent()


def test_a_consumer_may_choose_other_methods_for_keys(serve: Serve, rpc: Any) -> None:
    class OwnConsumer(RpcConsumer):
        def get_provider_for_method(self, routing_key: str) -> Any:
            return super().get_provider_for_method(routing_key.replace("old", "answer"))

    serve(answering(own_entrypoint(rpc_consumer=OwnConsumer())))
    assert rpc.answering.old() == "answer given"


def test_requests_go_back_by_either_name_of_the_consumer(serve: Serve, rpc: Any) -> None:
    """``consumer`` as in nameko 3, ``queue_consumer`` as in 2."""
    seen: list[bool] = []

    def handle_message(self: Any, body: Any, message: Any) -> None:
        seen.append(message.delivery_info["redelivered"])
        consumers = {1: self.rpc_consumer.consumer, 2: self.rpc_consumer.queue_consumer}
        if len(seen) in consumers:
            consumers[len(seen)].requeue_message(message)
        else:
            Rpc.handle_message(self, body, message)

    serve(answering(own_entrypoint(handle_message=handle_message)))
    assert rpc.answering.answer() == "answer given"
    assert seen == [False, True, True]


@pytest.mark.parametrize("bound_by", ["partial", "closure", "thread"])
def test_the_request_of_a_killed_worker_goes_back(
    config: dict[str, Any], wire: Wire, inbox: Inbox, bound_by: str
) -> None:
    """However an extension spawns it; a second instance carries it out."""

    def handle_message(self: Any, body: Any, message: Any) -> None:
        def handle_result(worker_ctx: Any, result: Any, exc_info: Any) -> Any:
            return self.handle_result(message, worker_ctx, result, exc_info)

        handler = handle_result if bound_by == "closure" else partial(self.handle_result, message)

        def spawn() -> None:
            # Where the container takes no more work, this raises: whoever calls handle_message sees to the request.
            self.container.spawn_worker(self, (), {}, context_data={}, handle_result=handler)

        if bound_by == "thread":
            self.container.spawn_managed_thread(spawn)
        else:
            spawn()

    class Hanging:
        name = "hanging"

        @own_entrypoint(handle_message=handle_message)
        def hang(self) -> str:
            inbox("running")
            assert green().event().wait(10) is False
            return "never"

    class Quick:
        name = "hanging"

        @rpc_decorator
        def hang(self) -> str:
            return "done"

    replies = wire.tap("nameko-rpc", "my-replies")
    # One runner, whose connection stays: only what is given back comes to another consumer.
    runner = ServiceRunner(config)
    runner.add_service(Hanging)
    runner.start()
    properties = {"content_type": "application/json", "reply_to": "my-replies", "correlation_id": "1"}
    wire.publish("nameko-rpc", "hanging.hang", b'{"args": [], "kwargs": {}}', **properties)
    inbox.take()
    container = runner.service_map["hanging"]
    for entrypoint in container.entrypoints:
        entrypoint.stop()
    container.pool.kill()
    other = ServiceContainer(Quick, config)
    other.start()
    try:
        assert json.loads(replies.take().body)["result"] == "done"
    finally:
        other.kill()
        runner.kill()


def test_the_request_that_a_killed_container_was_handling_goes_back(
    config: dict[str, Any], wire: Wire, inbox: Inbox
) -> None:
    """Before there was a worker for it."""

    def handle_message(self: Any, body: Any, message: Any) -> None:
        inbox(message)
        assert green().event().wait(10) is False

    runner = ServiceRunner(config)
    runner.add_service(answering(own_entrypoint(handle_message=handle_message)))
    runner.start()
    properties = {"content_type": "application/json", "reply_to": "none", "correlation_id": "1"}
    wire.publish("nameko-rpc", "answering.answer", b'{"args": [], "kwargs": {}}', **properties)
    message = inbox.take()
    runner.service_map["answering"].kill()
    wait_until(lambda: message.acknowledged, "what is given back")
    runner.kill()
    wait_until(lambda: wire.channel.declare_queue("rpc-answering", passive=True).messages == 1, "the request")


def test_a_request_for_a_container_that_takes_no_more_work_goes_back(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """An extension need not look for that itself."""

    def handle_message(self: Any, body: Any, message: Any) -> None:
        self.container.pool.refuse(self.stop_phase)
        inbox("refused")
        self.container.spawn_worker(self, (), {}, handle_result=partial(self.handle_result, message))

    # With a consumer of nameko's own and with one of somebody else's.
    def hand_over(self: Any, body: Any, message: Any) -> None:
        (provider,) = self.providers
        provider.handle_message(body, message)

    replies = wire.tap("nameko-rpc", "my-replies")
    for consumer in (RpcConsumer, type("OwnConsumer", (RpcConsumer,), {"handle_message": hand_over})):
        runner = serve(answering(own_entrypoint(handle_message=handle_message, rpc_consumer=consumer())))
        properties = {"content_type": "application/json", "reply_to": "my-replies", "correlation_id": "1"}
        wire.publish("nameko-rpc", "answering.answer", b'{"args": [], "kwargs": {}}', **properties)
        inbox.take()
        runner.stop()
        wait_until(lambda: wire.channel.purge_queue("rpc-answering") == 1, "the request")
    assert len(replies) == 0


def test_a_time_out_of_eventlets_in_handle_message_puts_the_request_back(
    serve: Serve, rpc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no error of the request."""
    redelivered: list[bool] = []

    def handle_message(self: Any, body: Any, message: Any) -> None:
        redelivered.append(message.delivery_info["redelivered"])
        if len(redelivered) == 1:
            raise eventlet.Timeout()
        Rpc.handle_message(self, body, message)

    monkeypatch.setattr(eventlet.hubs.get_hub(), "debug_exceptions", False)
    serve(answering(own_entrypoint(handle_message=handle_message)))
    assert rpc.answering.answer() == "answer given"
    assert redelivered == [False, True]


def test_methods_of_both_kinds_share_the_queue_of_a_service(serve: Serve, rpc: Any) -> None:
    """While its imports are changed, one after the other."""

    class Moving:
        name = "moving"

        @rpc_decorator
        def old(self) -> str:
            return "old"

        @own_rpc
        def new(self) -> str:
            return "new"

    serve(Moving)
    assert [rpc.moving.old(), rpc.moving.new(), rpc.moving.old()] == ["old", "new", "old"]
    with pytest.raises(errors.MethodNotFound, match="absent"):
        rpc.moving.absent()


# Names that tests of others patch, and small ones


def test_what_is_patched_under_nameko_is_what_is_used(serve: Serve) -> None:
    """``mock.patch`` takes the names that nameko has."""
    with standing_in(), mock.patch("nameko.rpc.Client") as client:
        runner = serve(Products, calling(ClusterRpc()))
        assert run(runner, lambda injected: injected) is client.return_value
        assert client.call_args.args[2]["call_id_stack"][0].startswith("calling.run.")


def test_wrapped_methods_are_called(serve: Serve) -> None:
    """As instrumentation wraps them, after services have been defined."""
    with (
        mock.patch.object(Rpc, "handle_message", autospec=True, side_effect=Rpc.handle_message) as handle_message,
        mock.patch.object(Rpc, "handle_result", autospec=True, side_effect=Rpc.handle_result) as handle_result,
        mock.patch.object(Client, "_call", autospec=True, side_effect=Client._call) as call,
    ):
        runner = serve(Products, calling(RpcProxy("products")))
        assert run(runner, lambda client: client.price("red")["sku"]) == "red"
    assert handle_message.call_args.args[1] == {"args": ["red"], "kwargs": {}}
    assert handle_result.call_args.args[3] == {"sku": "red", "currency": "EUR"}
    assert call.call_args.args[1:] == ("red",)


@pytest.mark.parametrize("given", [{}, {"rpc_exchange": "own"}])
def test_the_exchange_of_requests_is_the_configured_one(given: dict[str, str]) -> None:
    exchange = get_rpc_exchange(given)
    assert (exchange.name, exchange.type, exchange.durable) == (given.get("rpc_exchange", "nameko-rpc"), "topic", True)


@pytest.mark.parametrize("before_message", [(), ("json",)])
def test_a_responder_answers_by_its_publisher(before_message: tuple[str, ...]) -> None:
    """With the arguments of nameko 3, and with the serializer of nameko 2 before the message."""
    published: list[Any] = []

    class OwnPublisher:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            published.append(args)

        def publish(self, payload: Any, **kwargs: Any) -> None:
            if not isinstance(payload["result"], str | None):
                raise UnserializableValueError(payload["result"]) from TypeError("no")
            published.append((payload, kwargs))

    class OwnResponder(Responder):
        publisher_cls = OwnPublisher

    properties = {"content_type": "application/json", "reply_to": "replies", "correlation_id": "1"}
    message = mock.Mock(properties=properties)
    responder = OwnResponder("memory://", "exchange", *before_message, message)
    assert responder.send_response("fine", None) == ("fine", None)
    options = {"serializer": "json", "exchange": "exchange", "routing_key": "replies", "correlation_id": "1"}
    assert published == [("memory://",), ({"result": "fine", "error": None}, options)]
    result, exc_info = responder.send_response(object(), None)
    assert (result, exc_info[0]) == (None, TypeError)
    assert published[-1][0]["error"]["exc_type"] == "UnserializableValueError"
