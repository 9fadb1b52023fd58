"""@event_handler and EventDispatcher, with the same assertions on the embedded broker and on both links to RabbitMQ."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import BROADCAST, SERVICE_POOL, SINGLETON, DependencyProvider, EventDispatcher, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.events import EventHandler
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import (
    ChannelClosed,
    DeclarationError,
    MessageTooLarge,
    PublishRejected,
    UnserializableValueError,
)

pytestmark = pytest.mark.usefixtures("link_kind")

Start = Callable[..., ServiceRunner]


def handler(service_name: str, seen: Any, event_type: str = "placed", fails: int = 0, **options: Any) -> type:
    """Make a service that hands each event of ``shop`` on to ``seen``, and fails the first few times."""
    failures = [ValueError("not now")] * fails

    class Handler:
        name = service_name

        @event_handler("shop", event_type, **options)
        def handle(self, payload: Any) -> None:
            seen(payload)
            if failures:
                raise failures.pop()

    return Handler


def queue_is_there(wire: Any, queue: str) -> bool:
    """Say whether a queue exists, on a channel of its own, since asking may close it."""
    channel = wire.link.channel()
    try:
        channel.declare_queue(queue, passive=True)
    except ChannelClosed as exc:
        assert exc.code == 404
        return False
    channel.close()
    return True


# Handling


@pytest.mark.parametrize("payload", [None, 1, "ünï", [1, 2], {"a": {"b": 1}}])
def test_a_handler_gets_the_payload(start: Start, dispatch: Any, inbox: Any, payload: object) -> None:
    seen = inbox()
    start(handler("stock", seen))
    dispatch("shop", "placed", payload)
    assert seen.take() == payload


def test_a_service_sends_events_in_its_own_name(start: Start, rpc: Any, inbox: Any) -> None:
    seen = inbox()

    class Shop:
        name = "shop"
        dispatch = EventDispatcher()

        @rpc_method
        def place(self, number: int) -> None:
            self.dispatch("placed", number)

    start(Shop, handler("stock", seen))
    rpc.shop.place(7)
    assert seen.take() == 7


def test_an_event_type_that_is_no_text_is_refused(dispatch: Any) -> None:
    with pytest.raises(TypeError, match=r"dispatch\(3, \.\.\.\): the type of an event is a text"):
        dispatch("shop", 3, None)


def test_other_events_of_the_source_are_not_handled(start: Start, dispatch: Any, inbox: Any) -> None:
    seen = inbox()
    start(handler("stock", seen))
    for event_type in ("paid", "placed.late", "place", "placed"):
        dispatch("shop", event_type, event_type)
    dispatch("other", "placed", "other")
    assert seen.take() == "placed"
    dispatch("shop", "placed", "last")
    assert seen.take() == "last"


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("order.*", ["order.placed", "order.paid"]),
        ("order.#", ["order", "order.placed", "order.paid", "order.item.lost"]),
        ("#", ["order", "order.placed", "order.paid", "order.item.lost", "stock.low"]),
        ("*.*.lost", ["order.item.lost"]),
    ],
)
def test_an_event_type_may_be_a_pattern(
    start: Start, dispatch: Any, inbox: Any, pattern: str, matching: list[str]
) -> None:
    seen = inbox()
    start(handler("stock", seen, pattern), max_workers=1)
    for event_type in ("order", "order.placed", "order.paid", "order.item.lost", "stock.low"):
        dispatch("shop", event_type, event_type)
    assert [seen.take() for _ in matching] == matching
    assert not seen


def test_context_data_travels_with_events(start: Start, caller: type, run_in: Any, inbox: Any) -> None:
    seen = inbox()

    class Context(DependencyProvider):
        def get_dependency(self, ctx: Any) -> Any:
            return dict(ctx.context_data)

    class Listener:
        name = "listener"
        context = Context()

        @event_handler("caller", "said")
        def hear(self, payload: str) -> None:
            seen({**self.context, "payload": payload})

    runner = start(Listener, caller)
    run_in(runner, lambda caller: caller.dispatch("said", "hello"), language="de", empty=None)
    heard = seen.take()
    stack = heard.pop("call_id_stack")
    assert heard == {"language": "de", "payload": "hello"}
    assert [call_id.rsplit(".", 1)[0] for call_id in stack] == ["caller.run", "listener.hear"]


def test_an_event_that_cannot_be_decoded_is_dropped_with_a_log_line(
    start: Start, wire: Any, dispatch: Any, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()
    start(handler("stock", seen), max_workers=1)
    wire.publish("shop.events", "placed", b"{", content_type="application/json")
    wire.publish("shop.events", "placed", b"x", content_type="text/plain")
    dispatch("shop", "placed", "fine")
    assert seen.take() == "fine"
    assert caplog.text.count("message placed for stock.handle is dropped") == 2
    assert queue_is_there(wire, "evt-shop-placed--stock.handle")
    assert wire.channel.declare_queue("evt-shop-placed--stock.handle", passive=True).messages == 0


# Who gets an event


def test_each_service_of_a_pool_gets_an_event_once(start: Start, dispatch: Any, inbox: Any) -> None:
    stock, mail = inbox(), inbox()
    for _ in range(2):
        start(handler("stock", stock, handler_type=SERVICE_POOL), handler("mail", mail))
    for number in range(20):
        dispatch("shop", "placed", number)
    assert sorted(stock.take() for _ in range(20)) == list(range(20))
    assert sorted(mail.take() for _ in range(20)) == list(range(20))
    assert not stock
    assert not mail


def test_two_handlers_of_one_service_both_get_an_event(start: Start, dispatch: Any, inbox: Any) -> None:
    seen = inbox()

    class Both:
        name = "both"

        @event_handler("shop", "placed")
        def one(self, payload: str) -> None:
            seen(f"one {payload}")

        @event_handler("shop", "placed")
        @event_handler("shop", "paid")
        def two(self, payload: str) -> None:
            seen(f"two {payload}")

    start(Both)
    dispatch("shop", "placed", "a")
    dispatch("shop", "paid", "b")
    assert sorted(seen.take() for _ in range(3)) == ["one a", "two a", "two b"]


def test_one_handler_in_the_cluster_gets_a_singleton(start: Start, dispatch: Any, inbox: Any) -> None:
    seen = inbox()
    start(handler("stock", seen, handler_type=SINGLETON))
    start(handler("mail", seen, handler_type=SINGLETON))
    for number in range(20):
        dispatch("shop", "placed", number)
    assert sorted(seen.take() for _ in range(20)) == list(range(20))
    assert not seen


def test_every_instance_gets_a_broadcast(start: Start, dispatch: Any, inbox: Any) -> None:
    instances = [inbox() for _ in range(3)]
    for seen in instances:
        start(handler("stock", seen, handler_type=BROADCAST, reliable_delivery=False))
    dispatch("shop", "placed", "all")
    assert [seen.take() for seen in instances] == ["all"] * 3


def test_a_reliable_broadcast_needs_names_for_its_instances(start: Start, inbox: Any) -> None:
    with pytest.raises(DeclarationError, match=r"stock\.handle: a BROADCAST handler cannot be reliable"):
        start(handler("stock", inbox(), handler_type=BROADCAST))


def test_a_reliable_broadcast_with_names_keeps_events(start: Start, dispatch: Any, inbox: Any) -> None:
    seen = inbox()

    class Named(EventHandler):
        broadcast_identifier = "host-1"

    class Listener:
        name = "listener"

        @Named.decorator("shop", "placed", BROADCAST)
        def handle(self, payload: str) -> None:
            seen(payload)

    start(Listener).stop()
    dispatch("shop", "placed", "kept")
    start(Listener)
    assert seen.take() == "kept"


def test_an_unknown_handler_type_is_named() -> None:
    with pytest.raises(DeclarationError, match="handler_type is 'everyone'; give SERVICE_POOL, SINGLETON or BROADCAST"):
        EventHandler("shop", "placed", "everyone")


@pytest.mark.parametrize("names", [(None, "placed"), ("shop", 3)])
def test_names_that_are_no_texts_are_refused(names: Any) -> None:
    with pytest.raises(DeclarationError, match="give the names of a service and of an event"):
        EventHandler(*names)


# Reliability


def test_reliable_delivery_keeps_events_while_no_handler_is_up(
    start: Start, dispatch: Any, inbox: Any, wire: Any
) -> None:
    seen = inbox()
    start(handler("stock", seen)).stop()
    dispatch("shop", "placed", "kept")
    assert queue_is_there(wire, "evt-shop-placed--stock.handle")
    start(handler("stock", seen))
    assert seen.take() == "kept"


@pytest.mark.parametrize("handler_type", [SERVICE_POOL, SINGLETON, BROADCAST])
def test_without_reliable_delivery_the_queue_goes_with_the_handler(
    start: Start, dispatch: Any, inbox: Any, wire: Any, handler_type: str
) -> None:
    seen = inbox()
    runner = start(handler("stock", seen, handler_type=handler_type, reliable_delivery=False))
    entrypoint: Any = runner.containers["stock"].entrypoints[0]
    dispatch("shop", "placed", "now")
    assert seen.take() == "now"
    runner.stop()
    wait_until(lambda: not queue_is_there(wire, entrypoint.queue_name), "the end of the queue")


def test_an_event_whose_handler_fails_is_done_with(
    start: Start, dispatch: Any, inbox: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()
    runner = start(handler("stock", seen, fails=1), max_workers=1)
    dispatch("shop", "placed", "bad")
    dispatch("shop", "placed", "good")
    assert [seen.take(), seen.take()] == ["bad", "good"]
    assert "ValueError: not now" in caplog.text
    runner.stop()
    assert wire.channel.declare_queue("evt-shop-placed--stock.handle").messages == 0


def test_requeue_on_error_brings_an_event_back_until_it_is_handled(
    start: Start, dispatch: Any, inbox: Any, wire: Any
) -> None:
    seen = inbox()
    runner = start(handler("stock", seen, fails=3, requeue_on_error=True))
    dispatch("shop", "placed", "again")
    assert [seen.take() for _ in range(4)] == ["again"] * 4
    runner.stop()
    assert not seen
    assert wire.channel.declare_queue("evt-shop-placed--stock.handle").messages == 0


def test_an_expected_exception_is_a_warning(
    start: Start, dispatch: Any, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()
    runner = start(handler("stock", seen, fails=1, expected_exceptions=ValueError))
    dispatch("shop", "placed", "bad")
    seen.take()
    runner.stop()
    levels = {record.levelno for record in caplog.records if "ValueError: not now" in record.getMessage()}
    assert levels == {logging.WARNING}


def test_a_queue_that_is_deleted_is_declared_again(
    start: Start, dispatch: Any, inbox: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()
    start(handler("stock", seen))
    queue = "evt-shop-placed--stock.handle"
    wire.channel.delete_queue(queue)
    wait_until(lambda: queue_is_there(wire, queue), "the queue")
    dispatch("shop", "placed", "back")
    assert seen.take() == "back"
    assert f"queue {queue} was deleted; it is declared again" in caplog.text


# Exchanges


def test_event_exchanges_are_durable_and_stay(start: Start, inbox: Any, wire: Any) -> None:
    start(handler("stock", inbox()))
    wire.channel.declare_exchange("shop.events", "topic", durable=True, auto_delete=False)
    with pytest.raises(ChannelClosed, match="406"):
        wire.channel.declare_exchange("shop.events", "topic", durable=True, auto_delete=True)


def test_event_exchanges_may_go_with_their_last_binding(start: Start, inbox: Any, wire: Any) -> None:
    start(handler("stock", inbox()), AUTO_DELETE_EVENT_EXCHANGES=True)
    wire.channel.declare_exchange("shop.events", "topic", durable=True, auto_delete=True)
    with pytest.raises(ChannelClosed, match="406"):
        wire.channel.declare_exchange("shop.events", "topic", durable=True, auto_delete=False)


def test_event_exchanges_may_be_left_to_somebody_else(start: Start, inbox: Any, wire: Any) -> None:
    seen = inbox()

    class Shop:
        name = "shop"
        dispatch = EventDispatcher()

        @rpc_method
        def place(self) -> None:
            self.dispatch("placed", "x")

    wire.channel.declare_exchange("shop.events", "topic", durable=False)
    runner = start(Shop, handler("stock", seen), DECLARE_EVENT_EXCHANGES=False)
    wire.publish("nameko-rpc", "shop.place", b'{"args": [], "kwargs": {}}', content_type="application/json")
    assert seen.take() == "x"
    runner.stop()


def test_a_start_without_the_exchange_that_nobody_declares_fails(start: Start, inbox: Any) -> None:
    with pytest.raises(ChannelClosed, match=r"404.*no exchange 'shop\.events'"):
        start(handler("stock", inbox()), DECLARE_EVENT_EXCHANGES=False)


# Sending


def test_an_event_that_nobody_handles_is_no_error(start: Start, dispatch: Any) -> None:
    assert dispatch("shop", "placed", "x") is None


def test_a_payload_that_cannot_be_encoded_is_not_sent(start: Start, dispatch: Any, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(handler("stock", seen))
    with pytest.raises(UnserializableValueError, match="<object object at"):
        dispatch("shop", "placed", {"odd": object()})
    dispatch("shop", "placed", "fine")
    assert seen.take() == "fine"


def test_an_event_that_is_too_large_is_not_sent(start: Start, caller: type, run_in: Any) -> None:
    runner = start(caller, max_message_size=1000)
    with pytest.raises(MessageTooLarge, match="body has 1002 bytes, at most 1000"):
        run_in(runner, lambda caller: caller.dispatch("said", "x" * 1000))


def test_headers_that_fit_into_no_frame_fail_only_their_event(
    start: Start, caller: type, run_in: Any, inbox: Any
) -> None:
    seen = inbox()

    class Listener:
        name = "listener"

        @event_handler("caller", "said")
        def hear(self, payload: str) -> None:
            seen(payload)

    runner = start(caller, Listener)
    with pytest.raises(MessageTooLarge, match="headers"):
        run_in(runner, lambda caller: caller.dispatch("said", "large"), large="x" * 140_000)
    run_in(runner, lambda caller: caller.dispatch("said", "small"))
    assert seen.take() == "small"
    (sender,) = [resource for resource in runner.resources if isinstance(resource, ConfirmedSender)]
    assert not sender._unconfirmed
    assert not sender._mandatory


def test_a_queue_that_refuses_raises_publish_rejected(start: Start, dispatch: Any, wire: Any) -> None:
    dispatch("shop", "placed", "the exchange is there now")
    wire.channel.declare_queue("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    wire.channel.bind_queue("full", "shop.events", "placed")
    dispatch("shop", "placed", "first")
    with pytest.raises(PublishRejected, match=r"refused the message 'placed' on exchange 'shop\.events'"):
        dispatch("shop", "placed", "second")
    wire.channel.purge_queue("full")
    dispatch("shop", "placed", "third")
    assert wire.channel.declare_queue("full", passive=True).messages == 1


def test_an_exchange_that_is_deleted_is_declared_again(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(caller)
    wire.channel.delete_exchange("caller.events")
    with pytest.raises(ChannelClosed, match=r"404.*no exchange 'caller\.events'"):
        run_in(runner, lambda caller: caller.dispatch("said", "lost"))
    run_in(runner, lambda caller: caller.dispatch("said", "back"))
    wire.channel.declare_exchange("caller.events", passive=True)


def test_many_events_from_many_workers_all_arrive(start: Start, caller: type, run_in: Any, inbox: Any) -> None:
    seen = inbox()

    class Listener:
        name = "listener"

        @event_handler("caller", "said")
        def hear(self, payload: list[int]) -> None:
            seen(tuple(payload))

    runner = start(caller, Listener, max_workers=60)
    backend = runner.backend

    def send(worker: int) -> None:
        for number in range(20):
            run_in(runner, lambda caller, number=number: caller.dispatch("said", [worker, number]))

    tasks = [backend.spawn(send, worker) for worker in range(50)]
    assert all(task.wait(20) for task in tasks)
    assert {seen.take() for _ in range(1000)} == {(worker, number) for worker in range(50) for number in range(20)}


@pytest.mark.parametrize("name", ["exchange", "queue", "routing_key", "retires"])
def test_a_dispatcher_refuses_what_is_not_its_to_choose(name: str) -> None:
    with pytest.raises(TypeError, match=f"'{name}' is no option of an EventDispatcher"):
        EventDispatcher(**{name: "elsewhere"})
