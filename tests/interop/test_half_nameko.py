"""Instances of one and the same service, some run by nameko and some by us: they share its queues."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from json_process import JsonProcess
from nameko_process import HERE
from waiting import wait_until

from rpcservice.testing import RabbitMQNode

Start = Callable[..., list[JsonProcess]]
COMPETING = ("pooled", "pooled_lossy", "single", "single_lossy", "named")
SHARED_QUEUES = {
    "rpc-mixed",
    "evt-mixed-pooled--mixed.on_pooled",
    "evt-mixed-pooled_lossy--mixed.on_pooled_lossy",
    "evt-mixed-single",
    "evt-mixed-single_lossy",
    "evt-mixed-named--mixed.on_named-named",
    "orders-queue",
    "limits",
}
OTHER_CONFIG = {
    "rpc_exchange": "another-rpc",
    "AUTO_DELETE_EVENT_EXCHANGES": True,
    "serializer": "msgpack",
    "ACCEPT": ["msgpack", "json"],
}
in_both_orders = pytest.mark.parametrize("frameworks", [("nameko", "ours"), ("ours", "nameko")], ids="-".join)


@pytest.fixture
def config(request: pytest.FixtureRequest, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of this test's instances, clients and dispatchers."""
    return {**config, **getattr(request, "param", {})}


@pytest.fixture
def start(config: dict[str, Any], namekos_python: str, tmp_path: Path) -> Iterator[Start]:
    """Start instances, side by side: ``start("nameko", "ours")``; they are named after what runs them."""
    with ExitStack() as stack:

        def start(*frameworks: str) -> list[JsonProcess]:
            processes = []
            for framework in frameworks:
                python = namekos_python if framework == "nameko" else sys.executable
                command = [python, str(HERE / "mixed_service.py"), framework, json.dumps(config), framework]
                processes.append(stack.enter_context(JsonProcess(command, tmp_path / f"{framework}.log")))
            for process in processes:
                process.wait_for(ready=True)
            return processes

        yield start


def _payloads(instances: list[JsonProcess], handler: str) -> list[Any]:
    return [line["payload"] for one in instances for line in one.matching(handler=handler)]


@pytest.mark.parametrize(
    ("frameworks", "config"),
    [(("nameko", "ours"), {}), (("ours", "nameko"), OTHER_CONFIG)],
    ids=["nameko-ours", "ours-nameko"],
    indirect=["config"],
)
def test_all_declare_the_same_and_all_get_work(
    start: Start, frameworks: tuple[str, str], rpc: Any, dispatch: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    """The broker refuses whoever declares a queue or an exchange otherwise than it is."""
    instances = start(frameworks[0])
    before = _declared(rabbitmq, rabbitmq_uri)
    instances += start(frameworks[1], "drop-in")
    assert _declared(rabbitmq, rabbitmq_uri) == before
    queues = rabbitmq.queues(rabbitmq_uri)
    assert {name: queues[name]["consumers"] for name in SHARED_QUEUES} == dict.fromkeys(SHARED_QUEUES, 3)
    calls = [rpc.mixed.who.call_async() for _ in range(20)]
    assert {call.result() for call in calls} == {"nameko", "ours", "drop-in"}
    for number in range(20):
        for handler in COMPETING:
            dispatch("mixed", handler, number)
        rpc.mixed.order(number)
    dispatch("mixed", "everywhere", "to all")
    for handler in (*COMPETING, "order"):
        wait_until(lambda handler=handler: len(_payloads(instances, handler)) >= 20, handler)
        assert sorted(_payloads(instances, handler)) == list(range(20))
        assert {bool(one.matching(handler=handler)) for one in instances} == {True}
    for one in instances:
        one.wait_for(handler="everywhere", payload="to all")


def _declared(rabbitmq: RabbitMQNode, uri: str) -> Any:
    """Give all exchanges and bindings, and the queues that outlive an instance."""
    changing = ("consumers", "messages", "messages_ready", "messages_unacknowledged")
    queues = {
        name: {item: value for item, value in queue.items() if item not in changing}
        for name, queue in rabbitmq.queues(uri).items()
        if name in SHARED_QUEUES
    }
    bindings = [
        (binding["source_name"], binding["routing_key"], binding["destination_name"], str(binding["arguments"]))
        for binding in rabbitmq.bindings(uri)
        if binding["destination_name"] in SHARED_QUEUES
    ]
    return queues, sorted(bindings), rabbitmq.exchanges(uri)


@in_both_orders
def test_one_is_killed_and_the_other_takes_over_its_work(start: Start, frameworks: tuple[str, str], rpc: Any) -> None:
    """Each has but one worker, so one of the two calls is with the instance that is killed."""
    killed, survivor = start(*frameworks)
    calls = [rpc.mixed.hold.call_async(0.5) for _ in range(2)]
    killed.wait_for(holding=0.5)
    survivor.wait_for(holding=0.5)
    killed.signal(signal.SIGKILL)
    assert [call.result() for call in calls] == [frameworks[1]] * 2
    assert [rpc.mixed.who() for _ in range(4)] == [frameworks[1]] * 4


@in_both_orders
def test_one_stops_gracefully_and_no_call_is_lost(start: Start, frameworks: tuple[str, str], rpc: Any) -> None:
    stopped, other = start(*frameworks)
    calls = [rpc.mixed.hold.call_async(0.1) for _ in range(10)]
    stopped.wait_for(holding=0.1)
    stopped.signal(signal.SIGTERM)
    calls += [rpc.mixed.hold.call_async(0.1) for _ in range(5)]
    assert {call.result() for call in calls} == {"nameko", "ours"}
    assert stopped.wait() == 0
    assert other.matching(holding=0.1)


@in_both_orders
def test_the_other_framework_takes_what_was_kept(
    start: Start, frameworks: tuple[str, str], rabbitmq: RabbitMQNode, rabbitmq_uri: str, dispatch: Any
) -> None:
    """A service moves to the other framework while events come in; those that are to be kept are kept."""
    (old,) = start(frameworks[0])
    old.signal(signal.SIGKILL)
    old.wait()
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-mixed"]["consumers"] == 0)
    for event_type in ("pooled", "pooled_lossy", "single", "single_lossy", "named", "everywhere"):
        dispatch("mixed", event_type, "while nobody listened")
    dispatch("mixed", "pooled", "the last")
    (new,) = start(frameworks[1])
    new.wait_for(handler="pooled", payload="the last")
    for kept in ("pooled", "single", "named"):
        new.wait_for(handler=kept, payload="while nobody listened")
    for lost in ("pooled_lossy", "single_lossy", "everywhere"):
        assert not new.matching(handler=lost)
