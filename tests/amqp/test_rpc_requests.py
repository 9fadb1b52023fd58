"""What other clients may send to @rpc, and what they are answered."""

import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo, Slow, counted, journal_of, wait_for_end

from rpcservice.amqp.drops import Drops
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import (
    MalformedRequest,
)

pytestmark = pytest.mark.usefixtures("broker")

Start = Callable[..., ServiceRunner]


@pytest.mark.parametrize(
    ("body", "properties", "exc_type", "text"),
    [
        (b"{", {}, "MalformedRequest", "cannot be decoded as application/json"),
        (b"\xff", {}, "MalformedRequest", "cannot be decoded as application/json"),
        (b"[]", {}, "MalformedRequest", "a mapping with `args` and `kwargs`, not list"),
        (b"null", {}, "MalformedRequest", "not NoneType"),
        (b'{"args": []}', {}, "MalformedRequest", "Message missing `args` or `kwargs`"),
        (b'{"kwargs": {}}', {}, "MalformedRequest", "Message missing `args` or `kwargs`"),
        (b'{"args": 1, "kwargs": {}}', {}, "IncorrectSignature", "Value after * must be an iterable, not int"),
        (b'{"args": [], "kwargs": 1}', {}, "IncorrectSignature", "must be a mapping, not int"),
        (b"x", {"content_type": "text/plain"}, "MalformedRequest", "content type 'text/plain' is not accepted"),
        (b"x", {"content_type": None}, "MalformedRequest", "content type None is not accepted"),
    ],
)
def test_a_request_that_is_none_is_answered(
    start: Start, wire: Any, body: bytes, properties: dict[str, Any], exc_type: str, text: str
) -> None:
    runner = start(counted())
    reply = wire.request("counted.add", body, **properties)
    answer = json.loads(reply.body)
    assert answer["result"] is None
    assert answer["error"]["exc_path"] == f"nameko.exceptions.{exc_type}"
    assert text in answer["error"]["value"]
    assert reply.properties["content_type"] == "application/json"
    assert journal_of(runner) == []


def test_an_error_reply_has_namekos_fields(start: Start, wire: Any) -> None:
    start(Echo)
    assert json.loads(wire.request("echo.fail", b'{"args": ["a", 1, null], "kwargs": {}}').body) == {
        "result": None,
        "error": {
            "exc_type": "ValueError",
            "exc_path": "builtins.ValueError",
            "exc_args": ["a", "1", "None"],
            "value": "('a', 1, None)",
        },
    }


def test_method_not_found_keeps_namekos_arguments_and_adds_names(start: Start, wire: Any) -> None:
    start(Slow)
    error = json.loads(wire.request("slow.nope").body)["error"]
    assert (error["exc_path"], error["exc_args"]) == ("nameko.exceptions.MethodNotFound", ["nope"])
    assert error["names"] == ["quick", "wait"]


def test_a_malformed_request_raises_where_it_came_from(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(MalformedRequest, match="content type 'application/x-python-serialize' is not accepted"):
        rpc.echo.add.with_options(serializer="pickle")(1)


def test_a_request_without_reply_to_runs_and_its_result_is_dropped(
    start: Start, wire: Any, rpc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runner = start(counted())
    replies = wire.tap("nameko-rpc", "*")
    body = b'{"args": [1], "kwargs": {}}'
    wire.publish("nameko-rpc", "counted.add", body, content_type="application/json", correlation_id="id")
    wait_for_end(journal_of(runner))
    assert "request counted.add has no reply_to: its result is dropped" in caplog.text
    assert rpc.counted.add(1) == 2
    assert replies.take().properties["correlation_id"] != "id"


def test_requests_that_can_be_neither_carried_out_nor_answered_are_counted(
    start: Start, wire: Any, rpc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runner = start(Echo)
    for number, method in enumerate(["add", "add", "nope"], 1):
        wire.publish("nameko-rpc", f"echo.{method}", b"{", content_type="application/json", message_id=f"m{number}")
    assert rpc.echo.add(1) == 2
    assert runner.resources.get(Drops).counts == {"echo": 3}
    assert "message echo.nope for echo is dropped (message_id m3; no. 3 that is dropped there)" in caplog.text


def test_requests_that_are_answered_are_not_counted_as_dropped(start: Start, wire: Any) -> None:
    runner = start(Echo)
    assert json.loads(wire.request("echo.add", b"{").body)["error"]["exc_type"] == "MalformedRequest"
    assert not runner.resources.get(Drops).counts


def test_a_correlation_id_that_is_absent_stays_absent(start: Start, wire: Any) -> None:
    start(Echo)
    reply = wire.request("echo.add", b'{"args": [1], "kwargs": {}}', correlation_id=None)
    assert "correlation_id" not in reply.properties


def test_extra_keys_of_a_request_are_ignored(start: Start, wire: Any) -> None:
    start(Echo)
    body = b'{"args": [1], "kwargs": {}, "more": 1}'
    assert json.loads(wire.request("echo.add", body).body) == {"result": 2, "error": None}


# Serializers


def test_the_reply_is_encoded_as_the_request_was(start: Start, wire: Any) -> None:
    start(Echo, ACCEPT=["json", "pickle"])
    body = pickle.dumps({"args": [(1, 2)], "kwargs": {}})
    reply = wire.request("echo.args", body, content_type="application/x-python-serialize", content_encoding="binary")
    assert reply.properties["content_type"] == "application/x-python-serialize"
    assert reply.properties["content_encoding"] == "binary"
    assert pickle.loads(reply.body) == {"result": {"args": ((1, 2),), "kwargs": {}}, "error": None}


def test_a_client_may_use_another_serializer(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller, ACCEPT=["json", "yaml"])
    assert run_in(runner, lambda caller: caller.cluster.echo.add.with_options(serializer="yaml")(1)) == 2
