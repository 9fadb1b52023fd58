"""nameko's @event_handler and EventDispatcher."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from wire import Inbox, Wire

from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.events import (
    BROADCAST,
    SERVICE_POOL,
    SINGLETON,
    EventDispatcher,
    EventHandler,
    EventHandlerConfigurationError,
    event_handler,
    get_event_exchange,
)
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.messaging import Consumer, Publisher
from rpcservice.compat.nameko.rpc import rpc
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.errors import ChannelClosed
from rpcservice.testing import entrypoint_hook

Serve = Callable[..., ServiceRunner]


def handling(decorator: Any, seen: Any, service_name: str = "handling") -> type:
    """Make a service with one handler."""

    class Handling:
        name = service_name

        @decorator
        def handle(self, payload: Any) -> None:
            seen(payload)
            if payload == "fail":
                raise ValueError("failed")

    return Handling


class Shop:
    """Dispatches what it is asked to."""

    name = "shop"
    dispatch = EventDispatcher()
    urgent = EventDispatcher(priority=7, headers={"fixed": "h"})

    @rpc
    def send(self, event_type: str, payload: Any, urgently: bool = False) -> None:
        (self.urgent if urgently else self.dispatch)(event_type, payload)


def send(runner: ServiceRunner, *args: Any) -> None:
    """Have the shop dispatch an event."""
    with entrypoint_hook(runner.service_map["shop"], "send") as hook:
        hook(*args)


def has_queue(wire: Wire, name: str, **options: Any) -> bool:
    """Say whether there is a queue that is declared like this."""
    channel = wire.link.channel()
    try:
        channel.declare_queue(name, passive=True)
    except ChannelClosed:
        return False
    channel.declare_queue(name, **options)
    channel.close()
    return True


def test_an_event_reaches_its_handler(serve: Serve, inbox: Inbox) -> None:
    runner = serve(Shop, handling(event_handler("shop", "sold"), inbox))
    send(runner, "other", 1)
    send(runner, "sold", {"sku": "red"})
    assert inbox.take() == {"sku": "red"}


def test_options_of_the_dispatcher_go_with_each_event(serve: Serve, wire: Wire) -> None:
    """And so does the context data, as it is when the event is sent."""
    runner = serve(Shop)
    events = wire.tap("shop.events")
    send(runner, "sold", 1, True)
    event = events.take()
    assert (event.properties["priority"], event.properties["delivery_mode"]) == (7, 2)
    assert event.headers["fixed"] == "h"
    assert event.headers["nameko.call_id_stack"][0].startswith("shop.send.")


@pytest.mark.parametrize(
    ("options", "queue", "declared"),
    [
        ({}, "evt-shop-sold--handling.handle", {}),
        (
            {"handler_type": SERVICE_POOL, "reliable_delivery": False},
            "evt-shop-sold--handling.handle",
            {"auto_delete": True},
        ),
        ({"handler_type": SINGLETON}, "evt-shop-sold", {}),
    ],
)
def test_queues_have_the_names_of_nameko(
    serve: Serve, wire: Wire, inbox: Inbox, options: dict[str, Any], queue: str, declared: dict[str, Any]
) -> None:
    serve(handling(event_handler("shop", "sold", **options), inbox))
    assert has_queue(wire, queue, **declared)


def test_a_handler_type_need_not_be_the_same_object(serve: Serve, inbox: Inbox) -> None:
    """It may have been read from somewhere."""
    singleton = "".join(["single", "ton"])
    runner = serve(Shop, handling(event_handler("shop", "sold", singleton), inbox))
    send(runner, "sold", 1)
    assert inbox.take() == 1


def test_every_instance_gets_a_broadcast(serve: Serve, config: dict[str, Any], inbox: Inbox) -> None:
    handler = event_handler("shop", "sold", handler_type=BROADCAST, reliable_delivery=False)
    runner = serve(Shop, handling(handler, inbox))
    second = ServiceContainer(handling(handler, inbox), config)
    second.start()
    send(runner, "sold", 1)
    assert [inbox.take(), inbox.take()] == [1, 1]
    second.kill()


def test_a_reliable_broadcast_needs_names_for_its_instances(config: dict[str, Any], inbox: Inbox) -> None:
    """Which is found out when the container is made."""
    with pytest.raises(EventHandlerConfigurationError, match="shop/sold: a BROADCAST handler cannot be reliable"):
        ServiceContainer(handling(event_handler("shop", "sold", handler_type=BROADCAST), inbox), config)


def test_a_broadcast_identifier_of_ones_own_makes_reliable_queues(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    class Named(EventHandler):
        @property
        def broadcast_identifier(self) -> str:
            return "first"

    serve(handling(Named.decorator("shop", "sold", handler_type=BROADCAST), inbox))
    assert has_queue(wire, "evt-shop-sold--handling.handle-first")


def test_an_unknown_handler_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="handler_type is 'all'"):
        event_handler("shop", "sold", handler_type="all")


def test_requeue_on_error_puts_an_event_back(serve: Serve, inbox: Inbox) -> None:
    runner = serve(Shop, handling(event_handler("shop", "sold", requeue_on_error=True), inbox))
    send(runner, "sold", "fail")
    assert [inbox.take(), inbox.take()] == ["fail", "fail"]


def test_without_it_an_event_that_failed_is_done_with(serve: Serve, inbox: Inbox) -> None:
    runner = serve(Shop, handling(event_handler("shop", "sold"), inbox))
    send(runner, "sold", "fail")
    send(runner, "sold", "next")
    assert [inbox.take(), inbox.take()] == ["fail", "next"]


def test_a_handler_may_accept_other_serializers(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """And have a prefetch count of its own."""
    serve(Shop, handling(event_handler("shop", "sold", accept=["yaml"], prefetch_count=1, heartbeat=60), inbox))
    wire.publish("shop.events", "sold", b"a: 1", content_type="application/x-yaml")
    assert inbox.take() == {"a": 1}


def test_an_event_that_cannot_be_decoded_is_dropped(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    runner = serve(Shop, handling(event_handler("shop", "sold"), inbox))
    wire.publish("shop.events", "sold", b"{", content_type="application/json")
    send(runner, "sold", "next")
    assert inbox.take() == "next"


def test_exchanges_may_be_left_to_others(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """With DECLARE_EVENT_EXCHANGES; else they are made to be deleted or to stay."""
    wire.channel.declare_exchange("shop.events", "topic", arguments={"alternate-exchange": "unrouted"})
    runner = serve(Shop, handling(event_handler("shop", "sold"), inbox), DECLARE_EVENT_EXCHANGES=False)
    send(runner, "sold", 1)
    assert inbox.take() == 1


def test_exchanges_may_be_deleted_with_their_queues(serve: Serve, wire: Wire) -> None:
    serve(Shop, AUTO_DELETE_EVENT_EXCHANGES=True)
    wire.channel.declare_exchange("shop.events", "topic", auto_delete=True)


@pytest.mark.parametrize(
    ("config", "auto_delete", "no_declare"),
    [
        ({}, False, False),
        ({"AUTO_DELETE_EVENT_EXCHANGES": True, "DECLARE_EVENT_EXCHANGES": None}, True, False),
        ({"DECLARE_EVENT_EXCHANGES": False}, False, True),
    ],
)
def test_the_exchange_is_as_the_configuration_says(config: dict[str, Any], auto_delete: bool, no_declare: bool) -> None:
    exchange = get_event_exchange("shop", config)
    assert (exchange.name, exchange.type, exchange.auto_delete, exchange.no_declare) == (
        "shop.events",
        "topic",
        auto_delete,
        no_declare,
    )


def test_a_subclass_may_stand_between_handler_and_consumer(serve: Serve, inbox: Inbox) -> None:
    """As extensions do that change all consumers at once."""

    class OwnConsumer(Consumer):
        def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
            inbox((self.queue.name, message.payload))
            return super().handle_result(message, worker_ctx, result, exc_info)

    class OwnHandler(EventHandler, OwnConsumer):
        """Handles events."""

    runner = serve(Shop, handling(OwnHandler.decorator("shop", "sold"), inbox))
    send(runner, "sold", 1)
    assert [inbox.take(), inbox.take()] == [1, ("evt-shop-sold--handling.handle", 1)]


def test_a_dispatcher_is_a_publisher_that_others_build_on(serve: Serve, wire: Wire) -> None:
    class Enveloping(EventDispatcher):
        def get_dependency(self, worker_ctx: Any) -> Any:
            dispatch = super().get_dependency(worker_ctx)
            return lambda event_type, data: dispatch(event_type, {"envelope": data})

    class Sending:
        name = "shop"
        dispatch = Enveloping()

        @rpc
        def send(self, event_type: str, payload: Any) -> None:
            self.dispatch(event_type, payload)

    assert issubclass(EventDispatcher, Publisher)
    runner = serve(Sending)
    events = wire.tap("shop.events")
    send(runner, "sold", 1)
    assert json.loads(events.take().body) == {"envelope": 1}


def test_a_handler_says_what_it_handles(config: dict[str, Any], inbox: Inbox) -> None:
    """For the lines that the command line prints."""
    container = ServiceContainer(handling(event_handler("shop", "sold"), inbox), config)
    assert container.entrypoints[0].describe() == "event shop/sold -> handle"
