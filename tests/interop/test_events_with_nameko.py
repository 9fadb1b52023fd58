"""Events go both ways, for each type of handler, with two instances on either side."""

from collections.abc import Callable
from typing import Any

import pytest
from json_process import JsonProcess
from our_services import Seen
from raw_caller import RawCaller

from rpcservice.standalone import event_dispatcher
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")

PAYLOADS = [None, False, 0, 1.5, "", "Übergröße 漢字 🧭", [], {"nested": [{"ü": None}]}]
EVENTS = list(range(20))
WaitForSeen = Callable[[str, int], list[Any]]


def _payloads(shops: list[JsonProcess], handler: str) -> list[Any]:
    return [line["payload"] for shop in shops for line in shop.matching(handler=handler)]


def _wait_for(shops: list[JsonProcess], handler: str, count: int) -> list[Any]:
    shops[0].wait_until(lambda: len(_payloads(shops, handler)) >= count, f"{count} events for {handler}")
    return _payloads(shops, handler)


@pytest.mark.parametrize("event_type", ["pooled", "pooled_lossy", "single_lossy"])
def test_one_instance_of_nameko_takes_our_event(
    our_client: Any, nameko_shops: list[JsonProcess], event_type: str
) -> None:
    our_client["our_shop"].emit(event_type, EVENTS)
    assert sorted(_wait_for(nameko_shops, event_type, len(EVENTS))) == EVENTS
    # A second copy would have come with the first: another event through each instance would follow it.
    our_client["our_shop"].emit("everywhere", [f"after {event_type}"])
    for shop in nameko_shops:
        shop.wait_for(payload=f"after {event_type}")
    assert sorted(_payloads(nameko_shops, event_type)) == EVENTS


def test_our_event_carries_context_data_to_nameko(our_client: Any, nameko_shops: list[JsonProcess]) -> None:
    our_client["our_shop"].emit("pooled", ["with context"])
    line = nameko_shops[0].wait_until(
        lambda: [line for shop in nameko_shops for line in shop.matching(payload="with context")], "the event"
    )[0]
    assert [call_id.rpartition(".")[0] for call_id in line["context"]["call_id_stack"]][-2:] == [
        "our_shop.emit",
        "nameko_shop.on_pooled",
    ]


@pytest.mark.parametrize("event_type", ["everywhere", "everywhere_kept"])
def test_every_instance_of_nameko_gets_our_broadcast(
    our_client: Any, nameko_shops: list[JsonProcess], event_type: str
) -> None:
    our_client["our_shop"].emit(event_type, ["to all"])
    for shop in nameko_shops:
        shop.wait_for(handler=event_type, payload="to all")
        assert len(shop.matching(handler=event_type, payload="to all")) == 1


def test_nameko_takes_our_event_by_a_pattern(our_client: Any, nameko_shops: list[JsonProcess]) -> None:
    for event_type in ("by.any.pattern", "by.any.pattern.and.more", "by.pattern"):
        our_client["our_shop"].emit(event_type, [event_type])
    assert sorted(_wait_for(nameko_shops, "pattern", 2)) == ["by.any.pattern", "by.any.pattern.and.more"]


def test_nameko_has_our_event_again_where_its_handler_asks_for_that(
    our_client: Any, nameko_shops: list[JsonProcess]
) -> None:
    our_client["our_shop"].emit("fails", ["once"])
    our_client["our_shop"].emit("fails_and_comes_back", ["again"])
    assert _wait_for(nameko_shops, "fails_and_comes_back", 2)[:2] == ["again"] * 2
    assert _payloads(nameko_shops, "fails") == ["once"]


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


@pytest.mark.parametrize("event_type", ["pooled_lossy", "single_lossy"])
def test_one_instance_of_ours_takes_what_is_not_kept(
    our_client: Any, wait_for_seen: WaitForSeen, event_type: str
) -> None:
    our_client["nameko_shop"].emit(event_type, EVENTS)
    assert sorted(wait_for_seen(event_type, len(EVENTS))) == EVENTS


def test_we_take_namekos_event_by_a_pattern(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    for event_type in ("by.any.pattern", "by.any.pattern.and.more", "by.pattern"):
        our_client["nameko_shop"].emit(event_type, [event_type])
    assert sorted(wait_for_seen("pattern", 2)) == ["by.any.pattern", "by.any.pattern.and.more"]


def test_we_have_namekos_event_again_where_our_handler_asks_for_that(
    our_client: Any, wait_for_seen: WaitForSeen
) -> None:
    our_client["nameko_shop"].emit("fails", ["once"])
    our_client["nameko_shop"].emit("fails_and_comes_back", ["again"])
    assert wait_for_seen("fails_and_comes_back", 2) == ["again"] * 2
    assert wait_for_seen("fails", 1) == ["once"]


def test_namekos_event_carries_context_data_to_us(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    our_client["nameko_shop"].emit("pooled", ["with context"])
    ((_, context),) = wait_for_seen("pooled", 1)
    assert [call_id.rpartition(".")[0] for call_id in context["call_id_stack"]][-2:] == [
        "nameko_shop.emit",
        "our_shop.on_pooled",
    ]


@pytest.mark.parametrize("event_type", ["everywhere", "everywhere_kept"])
def test_every_instance_of_ours_gets_namekos_broadcast(
    our_client: Any, wait_for_seen: WaitForSeen, seen: Seen, event_type: str
) -> None:
    our_client["nameko_shop"].emit(event_type, ["to all"])
    assert wait_for_seen(event_type, 2) == ["to all", "to all"]
    assert len({instance for _, _, instance in seen}) == 2


def test_one_of_our_instances_takes_namekos_singleton(our_client: Any, wait_for_seen: WaitForSeen) -> None:
    our_client["nameko_shop"].emit("single", EVENTS)
    assert sorted(wait_for_seen("single", len(EVENTS))) == EVENTS


def test_namekos_standalone_dispatcher_reaches_us(nameko_client: JsonProcess, wait_for_seen: WaitForSeen) -> None:
    """It sends no headers at all."""
    nameko_client.ask(op="dispatch", source="nameko_shop", event_type="single", payload={"from": "outside"})
    assert wait_for_seen("single", 1) == [{"from": "outside"}]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_any_payload_goes_both_ways(
    our_client: Any, nameko_shops: list[JsonProcess], wait_for_seen: WaitForSeen, payload: Any
) -> None:
    our_client["nameko_shop"].emit("single", [payload])
    assert wait_for_seen("single", 1) == [payload]
    shop = nameko_shops[0]
    before = len(shop.matching(handler="everywhere"))
    our_client["our_shop"].emit("everywhere", [payload])
    shop.wait_until(lambda: len(shop.matching(handler="everywhere")) > before, "the event")
    assert shop.matching(handler="everywhere")[before]["payload"] == payload


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_an_event_in_another_serializer_of_nameko_reaches_us(
    nameko_client: JsonProcess, wait_for_seen: WaitForSeen, serializer: str
) -> None:
    payload = {"in": serializer, "ü": [1.5, None]}
    nameko_client.ask(op="dispatch", source="nameko_shop", event_type="single", payload=payload, serializer=serializer)
    assert wait_for_seen("single", 1) == [payload]


@pytest.mark.parametrize("compression", ["gzip", "bzip2"])
def test_a_compressed_event_of_nameko_reaches_us(
    nameko_client: JsonProcess, wait_for_seen: WaitForSeen, compression: str
) -> None:
    payload = "nameko" * 1000
    nameko_client.ask(
        op="dispatch", source="nameko_shop", event_type="single", payload=payload, compression=compression
    )
    assert wait_for_seen("single", 1) == [payload]


def test_a_priority_and_an_expiration_of_nameko_do_no_harm(
    nameko_client: JsonProcess, wait_for_seen: WaitForSeen
) -> None:
    nameko_client.ask(
        op="dispatch", source="nameko_shop", event_type="single", payload="in time", priority=5, expiration=30
    )
    assert wait_for_seen("single", 1) == ["in time"]


def test_an_event_that_cannot_be_decoded_is_dropped_by_both(
    raw_caller: RawCaller, our_client: Any, nameko_shops: list[JsonProcess], wait_for_seen: WaitForSeen
) -> None:
    """The event after it arrives, and nothing comes again."""
    for source in ("our_shop", "nameko_shop"):
        for body, content_type in ((b"{no json", "application/json"), (b"x", "text/strange")):
            raw_caller.publish(f"{source}.events", "pooled", body, content_type=content_type)
        our_client[source].emit("pooled", [f"after the bad one of {source}"])
    nameko_shops[0].wait_until(
        lambda: "after the bad one of our_shop" in _payloads(nameko_shops, "pooled"), "the event after"
    )
    assert [payload for payload, _ in wait_for_seen("pooled", 1)] == ["after the bad one of nameko_shop"]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, "raw ü"),
        ({"content_type": "application/data", "content_encoding": "binary"}, "raw ü".encode()),
        ({"content_type": "application/text", "content_encoding": "utf-8"}, "raw ü"),
    ],
    ids=["none", "data", "text"],
)
def test_an_event_that_no_serializer_has_made_is_handed_on_by_both(
    raw_caller: RawCaller,
    nameko_shops: list[JsonProcess],
    wait_for_seen: WaitForSeen,
    properties: dict[str, str],
    expected: str | bytes,
) -> None:
    raw_caller.publish("nameko_shop.events", "single", "raw ü".encode(), **properties)
    assert wait_for_seen("single", 1) == [expected]
    shop = nameko_shops[0]
    before = len(shop.matching(handler="everywhere"))
    raw_caller.publish("our_shop.events", "everywhere", "raw ü".encode(), **properties)
    shop.wait_until(lambda: len(shop.matching(handler="everywhere")) > before, "the event")
    assert shop.matching(handler="everywhere")[before]["payload"] == str(expected)


def test_our_standalone_dispatcher_reaches_nameko(interop_uri: str, nameko_shops: list[JsonProcess]) -> None:
    with event_dispatcher({"AMQP_URI": interop_uri}) as dispatch:
        dispatch("our_shop", "pooled", {"from": "outside"})
    nameko_shops[0].wait_until(lambda: {"from": "outside"} in _payloads(nameko_shops, "pooled"), "the event")


def test_events_are_acked_when_they_are_done_with(
    our_client: Any, wait_for_seen: WaitForSeen, rabbitmq: RabbitMQNode, interop_uri: str, nameko_shops: Any
) -> None:
    """Nothing of them stays with the broker."""
    our_client["nameko_shop"].emit("single", EVENTS)
    wait_for_seen("single", len(EVENTS))
    nameko_shops[0].wait_until(
        lambda: rabbitmq.queues(interop_uri)["evt-nameko_shop-single"]["messages"] == 0, "the end of the queue"
    )
