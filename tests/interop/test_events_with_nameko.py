"""Events go both ways, for each type of handler, with two instances on either side."""

from collections.abc import Callable
from typing import Any

import pytest
from json_process import JsonProcess
from our_services import Seen

from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")

EVENTS = list(range(20))
WaitForSeen = Callable[[str, int], list[Any]]


def _payloads(shops: list[JsonProcess], handler: str) -> list[Any]:
    return [line["payload"] for shop in shops for line in shop.matching(handler=handler)]


def _wait_for(shops: list[JsonProcess], handler: str, count: int) -> list[Any]:
    shops[0].wait_until(lambda: len(_payloads(shops, handler)) >= count, f"{count} events for {handler}")
    return _payloads(shops, handler)


def test_one_instance_of_nameko_takes_our_pooled_event(our_client: Any, nameko_shops: list[JsonProcess]) -> None:
    our_client["our_shop"].emit("pooled", EVENTS)
    assert sorted(_wait_for(nameko_shops, "pooled", len(EVENTS))) == EVENTS
    # A second copy would have come with the first: another event through each instance would follow it.
    our_client["our_shop"].emit("everywhere", ["fence"])
    nameko_shops[0].wait_until(lambda: nameko_shops[0].matching(payload="fence"), "the event after")
    nameko_shops[1].wait_until(lambda: nameko_shops[1].matching(payload="fence"), "the event after")
    assert sorted(_payloads(nameko_shops, "pooled")) == EVENTS


def test_our_event_carries_context_data_to_nameko(our_client: Any, nameko_shops: list[JsonProcess]) -> None:
    our_client["our_shop"].emit("pooled", ["with context"])
    line = nameko_shops[0].wait_until(
        lambda: [line for shop in nameko_shops for line in shop.matching(payload="with context")], "the event"
    )[0]
    assert [call_id.rpartition(".")[0] for call_id in line["context"]["call_id_stack"]][-2:] == [
        "our_shop.emit",
        "nameko_shop.on_pooled",
    ]


def test_every_instance_of_nameko_gets_our_broadcast(our_client: Any, nameko_shops: list[JsonProcess]) -> None:
    our_client["our_shop"].emit("everywhere", ["to all"])
    for shop in nameko_shops:
        assert len(shop.wait_until(lambda shop=shop: shop.matching(payload="to all"), "the broadcast")) == 1


def test_a_singleton_is_shared_by_nameko_and_us(our_client: Any, nameko_shops: list[JsonProcess], seen: Seen) -> None:
    """Four instances of two programs take turns on one queue."""
    our_client["our_shop"].emit("single", EVENTS)

    def taken() -> list[Any]:
        return [payload for name, payload, _ in seen if name == "shared"] + _payloads(nameko_shops, "single")

    nameko_shops[0].wait_until(lambda: len(taken()) >= len(EVENTS), "all events")
    assert sorted(taken()) == EVENTS
    assert _payloads(nameko_shops, "single")
    assert seen


def test_one_instance_of_ours_takes_namekos_pooled_event(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    our_client["nameko_shop"].emit("pooled", EVENTS)
    assert sorted(payload for payload, _ in wait_for_seen("pooled", len(EVENTS))) == EVENTS


def test_namekos_event_carries_context_data_to_us(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    our_client["nameko_shop"].emit("pooled", ["with context"])
    ((_, context),) = wait_for_seen("pooled", 1)
    assert [call_id.rpartition(".")[0] for call_id in context["call_id_stack"]][-2:] == [
        "nameko_shop.emit",
        "our_shop.on_pooled",
    ]


def test_every_instance_of_ours_gets_namekos_broadcast(our_client: Any, wait_for_seen: WaitForSeen, seen: Seen) -> None:
    our_client["nameko_shop"].emit("everywhere", ["to all"])
    assert wait_for_seen("everywhere", 2) == ["to all", "to all"]
    assert len({instance for _, _, instance in seen}) == 2


def test_one_of_our_instances_takes_namekos_singleton(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    our_client["nameko_shop"].emit("single", EVENTS)
    assert sorted(wait_for_seen("single", len(EVENTS))) == EVENTS


def test_namekos_standalone_dispatcher_reaches_us(nameko_client: JsonProcess, wait_for_seen: WaitForSeen) -> None:
    """It sends no headers at all."""
    nameko_client.ask(op="dispatch", source="nameko_shop", event_type="single", payload={"from": "outside"})
    assert wait_for_seen("single", 1) == [{"from": "outside"}]


def test_events_are_acked_when_they_are_done_with(
    our_client: Any, wait_for_seen: WaitForSeen, rabbitmq: RabbitMQNode, interop_uri: str, nameko_shops: Any
) -> None:
    """Nothing of them stays with the broker."""
    our_client["nameko_shop"].emit("single", EVENTS)
    wait_for_seen("single", len(EVENTS))
    nameko_shops[0].wait_until(
        lambda: rabbitmq.queues(interop_uri)["evt-nameko_shop-single"]["messages"] == 0, "the end of the queue"
    )
