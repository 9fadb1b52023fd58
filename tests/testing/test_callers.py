from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import ServiceContainer, UnknownService, event_handler, rpc
from rpcservice.testing import RabbitMQNode, entrypoint_waiter
from rpcservice.testing.callers import Dispatcher


class Greeter:
    name = "greeter"

    @rpc
    def greet(self, name: str) -> str:
        return f"Hello, {name}!"

    @event_handler("orders", "placed")
    @event_handler("payments", "failed")
    def note(self, payload: dict[str, int]) -> dict[str, int]:
        return payload


@pytest.fixture
def greeter(container_factory: Callable[..., ServiceContainer]) -> ServiceContainer:
    container = container_factory(Greeter)
    container.start()
    return container


def test_a_test_can_call_a_service_by_rpc(greeter: ServiceContainer, rpc: Any) -> None:
    assert rpc["greeter"].greet("Ada") == "Hello, Ada!"
    assert rpc.greeter.greet.call_async("Bob").result(10) == "Hello, Bob!"


def test_a_call_to_nobody_raises(rpc: Any) -> None:
    with pytest.raises(UnknownService):
        rpc.nobody.greet("Ada")


@pytest.mark.parametrize(("source", "event"), [("orders", "placed"), ("payments", "failed")])
def test_a_test_can_send_events_in_the_name_of_any_service(
    greeter: ServiceContainer, dispatch: Dispatcher, source: str, event: str
) -> None:
    with entrypoint_waiter(greeter, "note") as result:
        dispatch(source, event, {"number": 1})
    assert result.get() == {"number": 1}


def test_a_second_event_of_a_service_goes_the_same_way(greeter: ServiceContainer, dispatch: Dispatcher) -> None:
    seen: list[int] = []
    with entrypoint_waiter(greeter, "note", callback=lambda ctx, result, _: seen.append(result["n"]) or len(seen) == 2):
        dispatch("orders", "placed", {"n": 1})
        dispatch("orders", "placed", {"n": 2})
    assert seen == [1, 2]


@pytest.mark.broker
def test_services_on_rabbitmq_are_called_the_same_way(
    greeter: ServiceContainer, rpc: Any, dispatch: Dispatcher, rabbitmq: RabbitMQNode, broker_uri: str
) -> None:
    assert rpc.greeter.greet("Ada") == "Hello, Ada!"
    with entrypoint_waiter(greeter, "note") as result:
        dispatch("orders", "placed", {"number": 2})
    assert result.get() == {"number": 2}
    assert "rpc-greeter" in rabbitmq.queues(broker_uri)
