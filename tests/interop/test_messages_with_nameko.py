"""Messages of nameko's Publisher reach our @consume, and ours reach nameko's: the same module, run by each."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import amqp
import pytest
from json_process import JsonProcess
from kombu import Connection
from nameko_process import HERE

Services = dict[str, JsonProcess]
both_ways = pytest.mark.parametrize(("source", "target"), [("theirs", "ours"), ("ours", "theirs")], ids=["in", "out"])


@pytest.fixture(scope="module")
def services(interop_uri: str, namekos_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("messages")
    with ExitStack() as stack:
        started = {}
        for name, framework, python in (("theirs", "nameko", namekos_python), ("ours", "rpcservice", sys.executable)):
            command = [python, str(HERE / "messages_service.py"), framework, interop_uri, name]
            started[name] = stack.enter_context(JsonProcess(command, folder / f"{name}.log"))
        for process in started.values():
            process.wait_for(ready=True)
        yield started


@pytest.fixture
def messages(interop_uri: str, services: Services) -> Iterator[amqp.Channel]:
    """A channel with a queue, ``raw``, for what goes to ``to.raw``."""
    with Connection(interop_uri) as connection:
        channel = connection.channel()
        channel.queue_declare("raw", durable=True, auto_delete=False)
        channel.queue_bind("raw", "messages", "to.raw")
        yield channel
        channel.queue_delete("raw")


def _taken(process: JsonProcess, count: int) -> list[Any]:
    process.wait_until(lambda: len(_lines(process)) >= count, f"{count} messages")
    return [line["taken"] for line in _lines(process)]


def _lines(process: JsonProcess) -> list[Any]:
    return [line for line in process.lines if "taken" in line]


def _send_and_take(client: Any, services: Services, source: str, target: str, *args: Any, **kwargs: Any) -> Any:
    """Publish to the target's queue; gives what it took, as [type, text]."""
    process = services[target]
    before = len(_lines(process))
    payload, options = args
    assert client[source].send(payload, {"routing_key": f"to.{target}", **options}, **kwargs) == "sent"
    return _taken(process, before + 1)[before]


@both_ways
@pytest.mark.parametrize("payload", [None, 0, "", "Übergröße 🧭", [], {"a": [{"ü": None}]}], ids=repr)
def test_any_payload_arrives(our_client: Any, services: Services, source: str, target: str, payload: Any) -> None:
    taken = _send_and_take(our_client, services, source, target, payload, {})
    assert taken == [type(payload).__name__, json.dumps(payload)]


@both_ways
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_any_serializer_does(our_client: Any, services: Services, source: str, target: str, serializer: str) -> None:
    payload = {"ü": [1, 1.5, None, True, "漢字"]}
    taken = _send_and_take(our_client, services, source, target, payload, {"serializer": serializer})
    assert taken == ["dict", json.dumps(payload)]


@both_ways
@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma", "zlib", "bzip"])
def test_any_compression_does(our_client: Any, services: Services, source: str, target: str, compression: str) -> None:
    payload = "nameko" * 1000
    taken = _send_and_take(our_client, services, source, target, payload, {"compression": compression})
    assert taken == ["str", len(payload) + 2]


@both_ways
@pytest.mark.parametrize(
    ("value", "expected"),
    [("date", ["date", '"datetime.date(2024, 2, 29)"']), ("decimal", ["Decimal", "\"Decimal('1.50')\""])],
)
def test_dates_and_decimals_arrive(
    our_client: Any, services: Services, source: str, target: str, value: str, expected: list[str]
) -> None:
    assert _send_and_take(our_client, services, source, target, None, {}, value=value) == expected


@both_ways
@pytest.mark.parametrize("options", [{}, {"serializer": "pickle"}, {"serializer": "msgpack"}, {"compression": "gzip"}])
def test_a_megabyte_arrives(
    our_client: Any, services: Services, source: str, target: str, options: dict[str, Any]
) -> None:
    assert _send_and_take(our_client, services, source, target, None, options, value="big") == ["str", 1_000_002]


@both_ways
@pytest.mark.parametrize("options", [{"serializer": "raw"}, {"serializer": "pickle"}, {"serializer": "msgpack"}])
def test_bytes_arrive(our_client: Any, services: Services, source: str, target: str, options: Any) -> None:
    assert _send_and_take(our_client, services, source, target, None, options, value="bytes") == ["bytes", "AP8="]


@both_ways
@pytest.mark.parametrize("publisher", ["publish", "publish_to_queue"])
def test_context_data_and_headers_arrive(
    our_client: Any, services: Services, source: str, target: str, publisher: str
) -> None:
    """To an exchange, or straight to a queue by the default exchange."""
    before = len(_lines(services[target]))
    key = f"to.{target}" if publisher == "publish" else f"messages-{target}"
    options = {"routing_key": key, "headers": {"own": "ü", "nameko.language": "de"}}
    assert our_client[source].send("x", options, publisher=publisher) == "sent"
    _taken(services[target], before + 1)
    context = _lines(services[target])[before]["context"]
    stack = [call_id.rpartition(".")[0] for call_id in context.pop("call_id_stack")]
    assert stack[-2:] == [f"{source}.send", f"{target}.take"]
    assert context == {"own": "ü", "language": "de"}


@both_ways
def test_a_message_comes_again_where_the_handler_asks_for_that(
    our_client: Any, services: Services, source: str, target: str
) -> None:
    payload = f"again from {source}"
    assert our_client[source].send(payload, {"routing_key": f"again.{target}"}) == "sent"
    expected = ["str", json.dumps(payload)]
    services[target].wait_until(lambda: len(services[target].matching(again=expected)) == 2, "the second time")


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "all": {"priority": 7, "expiration": 30, "delivery_mode": 1, "headers": {"own": ["ü", 1, None, {"a": 1.5}]}},
    "half_a_second": {"expiration": 0.5},
    "mandatory": {"mandatory": True},
    "unconfirmed": {"use_confirms": False},
    "identity": {"message_id": "an id", "type": "a type", "correlation_id": "1", "reply_to": "q", "app_id": "an app"},
    "timestamp": {"timestamp": 1700000000},
    "compressed": {"compression": "gzip"},
    "own_type": {"content_type": "text/x-own", "content_encoding": "utf-8"},
    "retry": {"retry": True, "retry_policy": {"max_retries": 2}},
}


def _without_the_call(headers: dict[str, Any]) -> None:
    """Leave out what came from the call that had the message sent; nameko takes its deadline for context data."""
    headers.pop("nameko.call_id_stack")
    headers.pop("nameko.rpcservice-deadline", None)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_gives_the_same_message(our_client: Any, messages: amqp.Channel, name: str) -> None:
    """But for the two properties that nameko never sets, unless asked to."""
    sent = []
    for source in ("theirs", "ours"):
        assert our_client[source].send("ü", {"routing_key": "to.raw", **OPTIONS[name]}) == "sent"
        message = messages.basic_get("raw", no_ack=True)
        properties = {**message.properties}
        _without_the_call(properties["application_headers"])
        if source == "ours" and name != "identity":
            assert properties.pop("app_id") == "rpcservice"
            assert properties.pop("message_id")
        sent.append((message.body, properties))
    assert sent[1] == sent[0]


def test_a_publishers_own_options_give_the_same_message(our_client: Any, messages: amqp.Channel) -> None:
    sent = []
    for source in ("theirs", "ours"):
        changes = {"headers": {"more": 1}}
        assert our_client[source].send("ü", changes, publisher="publish_with_options") == "sent"
        message = messages.basic_get("raw", no_ack=True)
        headers = {**message.properties["application_headers"]}
        _without_the_call(headers)
        sent.append((message.body, message.properties["priority"], headers))
    assert sent[0][1:] == (3, {"fixed": "yes", "more": 1})
    assert sent[1] == sent[0]


@pytest.mark.parametrize("source", ["theirs", "ours"])
def test_a_mandatory_message_that_nobody_takes_is_undeliverable(
    our_client: Any, services: Services, source: str
) -> None:
    answer = our_client[source].send("x", {"routing_key": "to.nobody", "mandatory": True})
    assert answer == "UndeliverableMessage"
    assert our_client[source].send("x", {"routing_key": "to.nobody"}) == "sent"
