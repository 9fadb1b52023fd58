"""Context data through services of nameko 2, of nameko 3, of ours, and of nameko's run by us, in any order.

Some of the services have a dot in their names.
"""

import datetime
import decimal
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from json_process import JsonProcess
from nameko_environment import nameko_python
from nameko_process import HERE
from raw_caller import RawCaller, call_body

from rpcservice import DependencyProvider, ServiceRpc, ServiceRunner, rpc
from rpcservice.core.context import WorkerContext
from rpcservice.testing import RabbitMQNode

CONTEXT = {"language": "de", "user_id": 7, "auth_token": "secret", "own_key": {"nested": [1, "ü", None]}}
ORDERS = [
    ("relay_2", "relays.ours", "relays.3", "relays.ours"),
    ("relays.3", "relays.ours", "relay_2", "relays.ours"),
    ("relays.ours", "relay_2", "relays.3", "relays.ours"),
    ("relay_2", "relay_drop_in", "relays.3", "relay_drop_in", "relays.ours"),
]
in_any_order = pytest.mark.parametrize("path", ORDERS, ids="-".join)


class Context(DependencyProvider):
    def get_dependency(self, ctx: WorkerContext) -> dict[str, Any]:
        return dict(ctx.context_data)


class Relay:
    name = "relays.ours"
    context = Context()
    relay_2 = ServiceRpc("relay_2", timeout=15)
    relays_3 = ServiceRpc("relays.3", timeout=15)
    relay_drop_in = ServiceRpc("relay_drop_in", timeout=15)
    relays_ours = ServiceRpc("relays.ours", timeout=15)

    @rpc
    def relay(self, path: list[str]) -> list[dict[str, Any]]:
        """Give the context data of this call, and those of the calls behind it."""
        rest = getattr(self, path[0].replace(".", "_")).relay(path[1:]) if path else []
        return [self.context, *rest]


@pytest.fixture(scope="module")
def caller(rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawCaller]:
    """All relays run."""
    uri, folder = rabbitmq.vhost(), tmp_path_factory.mktemp("relays")
    with ExitStack() as stack:
        pythons = {"relay_2": nameko_python(2), "relays.3": nameko_python(3), "relay_drop_in": sys.executable}
        relays = [
            stack.enter_context(
                JsonProcess([python, str(HERE / "relay_services.py"), uri, name], folder / f"{name}.log")
            )
            for name, python in pythons.items()
        ]
        for relay in relays:
            relay.wait_for(ready=True)
        runner = ServiceRunner({"AMQP_URI": uri})
        runner.add_service(Relay)
        runner.start()
        stack.callback(runner.stop)
        yield stack.enter_context(RawCaller(uri))
    rabbitmq.delete_vhost(uri)


def _seen(caller: RawCaller, path: tuple[str, ...], headers: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what each service along the path has seen."""
    reply = caller.ask_for_json(f"{path[0]}.relay", call_body(path[1:]), application_headers=headers)
    assert reply["error"] is None, reply["error"]
    seen: list[dict[str, Any]] = reply["result"]
    assert len(seen) == len(path)
    for service, context in zip(path, seen, strict=True):
        # nameko takes every header for context data, and hands this one on under its own prefix, where ours ignore it.
        stale = context.pop("rpcservice-deadline", None)
        assert stale is None or service != "relays.ours"
    return seen


def _without_stack(context: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in context.items() if key != "call_id_stack"}


def _methods(stack: list[str]) -> list[str]:
    return [call_id.rpartition(".")[0] for call_id in stack]


@in_any_order
def test_context_data_reaches_every_hop(caller: RawCaller, path: tuple[str, ...]) -> None:
    seen = _seen(caller, path, {f"nameko.{key}": value for key, value in CONTEXT.items()})
    assert [_without_stack(context) for context in seen] == [CONTEXT] * len(path)


@in_any_order
def test_headers_without_the_prefix_reach_every_hop(caller: RawCaller, path: tuple[str, ...]) -> None:
    seen = _seen(caller, path, {"bare": "yes", "nameko.language": "fr"})
    assert [_without_stack(context) for context in seen] == [{"bare": "yes", "language": "fr"}] * len(path)


@in_any_order
def test_none_is_seen_by_the_first_hop_alone(caller: RawCaller, path: tuple[str, ...]) -> None:
    first, *others = _seen(caller, path, {"nameko.language": None, "nameko.user_id": 7})
    assert _without_stack(first) == {"language": None, "user_id": 7}
    assert [_without_stack(context) for context in others] == [{"user_id": 7}] * len(others)


@in_any_order
def test_values_of_all_types_arrive_unchanged(caller: RawCaller, path: tuple[str, ...]) -> None:
    values = {
        "yes": True,
        "no": False,
        "zero": 0,
        "negative": -5,
        "long": 2**40,
        "longest": -(2**63),
        "float": 1.5,
        "decimal": decimal.Decimal("12.30"),
        "when": datetime.datetime(2024, 2, 29, 12, 30, 15),
        "empty": "",
        "long_text": "ü" * 5000,
        "nothing": [],
        "table": {},
        "deep": {"list": [{"a": [1, [2, {"b": None}]]}]},
        "key.with.dots": 1,
        "nameko": "bare",
    }
    first, *others = _seen(caller, path, {f"nameko.{key}": value for key, value in values.items()})
    assert json.dumps(_without_stack(first), default=str) == json.dumps(_without_stack(others[-1]), default=str)
    assert [_without_stack(context) for context in others] == [_without_stack(first)] * len(others)
    assert first["long_text"] == values["long_text"]
    assert first["longest"] == values["longest"]


@in_any_order
def test_the_call_stack_names_every_hop_in_order(caller: RawCaller, path: tuple[str, ...]) -> None:
    seen = _seen(caller, path, {"nameko.call_id_stack": ["somebody.called.1"]})
    last = seen[-1]["call_id_stack"]
    assert _methods(last) == ["somebody.called", *(f"{name}.relay" for name in path)]
    for number, context in enumerate(seen):
        assert context["call_id_stack"] == last[: number + 2]


@in_any_order
def test_the_call_stack_is_cut_to_eleven(caller: RawCaller, path: tuple[str, ...]) -> None:
    """``parent_calls_tracked`` is 10 everywhere."""
    long = path + path + path + path
    last = _seen(caller, long, {})[-1]["call_id_stack"]
    assert _methods(last) == [f"{name}.relay" for name in long[-11:]]


def test_a_call_stack_that_came_too_long_is_cut(caller: RawCaller) -> None:
    headers = {"nameko.call_id_stack": [f"somebody.called.{number}" for number in range(30)]}
    stacks = [_seen(caller, (name,), headers)[0]["call_id_stack"] for name in ("relay_2", "relays.3", "relays.ours")]
    for stack in stacks:
        assert stack[:-1] == stacks[0][:-1]
        assert len(stack) == 11
