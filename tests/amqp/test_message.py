"""The wire format of requests and context data, as pure functions."""

from typing import Any

import pytest

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.message import (
    check_size,
    context_from_headers,
    headers_from_context,
    properties_for,
    request_arguments,
)
from rpcservice.errors import IncorrectSignature, MalformedRequest, MessageTooLarge, UnserializableValueError
from rpcservice.testing import FakeHost


def test_context_data_becomes_headers_with_namekos_prefix() -> None:
    data = {"language": "de", "user_id": 7, "empty": None, "stack": ["a", "b"], "zero": 0, "no": False}
    assert headers_from_context(data) == {
        "nameko.language": "de",
        "nameko.user_id": 7,
        "nameko.stack": ["a", "b"],
        "nameko.zero": 0,
        "nameko.no": False,
    }


def test_context_data_with_a_key_that_is_no_text_cannot_be_sent() -> None:
    with pytest.raises(UnserializableValueError, match="7: 'x'"):
        headers_from_context({7: "x"})  # type: ignore[dict-item]  # as a provider may get it wrong


def test_headers_become_context_data_with_and_without_prefix() -> None:
    assert context_from_headers({"nameko.language": "de", "bare": 1}) == {"language": "de", "bare": 1}


def test_one_prefix_is_taken_off_and_no_more() -> None:
    assert context_from_headers({"nameko.nameko.x": 1}) == {"nameko.x": 1}


@pytest.mark.parametrize(
    "header", ["rpcservice-retry", "nameko.rpcservice-retry", "rpcservice-", "x-death", "nameko.x-death"]
)
def test_our_headers_and_the_brokers_stay_out(header: str) -> None:
    assert context_from_headers({header: 1, "kept": 2}) == {"kept": 2}


def test_context_data_makes_the_round_trip() -> None:
    data = {"language": "de", "own.key": [1, {"a": None}], "rpc": "x"}
    assert context_from_headers(headers_from_context(data)) == data


def test_arguments_come_as_tuple_and_dict() -> None:
    assert request_arguments({"args": [1, 2], "kwargs": {"a": 3}, "more": 4}) == ((1, 2), {"a": 3})


@pytest.mark.parametrize("payload", [None, 1, "text", [], ["args", "kwargs"]])
def test_a_payload_that_is_no_mapping_is_malformed(payload: object) -> None:
    with pytest.raises(MalformedRequest, match=f"not {type(payload).__name__}"):
        request_arguments(payload)


@pytest.mark.parametrize("payload", [{}, {"args": []}, {"kwargs": {}}])
def test_a_payload_without_both_keys_is_malformed_in_namekos_words(payload: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest) as caught:
        request_arguments(payload)
    assert caught.value.args == ("Message missing `args` or `kwargs`",)


def test_arguments_that_are_no_list_are_an_incorrect_signature() -> None:
    with pytest.raises(IncorrectSignature) as caught:
        request_arguments({"args": 1, "kwargs": {}})
    assert caught.value.args == ("Value after * must be an iterable, not int",)
    with pytest.raises(IncorrectSignature, match="must be a mapping, not list"):
        request_arguments({"args": [], "kwargs": []})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"expiration": -1}, "expiration is -1; give seconds from 0 to 315360000"),
        ({"expiration": float("nan")}, "expiration is nan"),
        ({"expiration": 10**9}, "expiration is 1000000000"),
        ({"expiration": "5"}, "expiration is '5'"),
        ({"priority": 256}, "priority is 256; give a whole number from 0 to 255"),
        ({"priority": -1}, "priority is -1"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"delivery_mode": 3}, r"delivery_mode is 3; give 1 \(transient\) or 2 \(persistent\)"),
    ],
)
def test_a_property_that_the_broker_refuses_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        properties_for(FakeHost().resource(Codecs).default, **options)


def test_an_expiration_is_sent_in_whole_milliseconds() -> None:
    codec = FakeHost().resource(Codecs).default
    sent = [properties_for(codec, expiration=seconds).get("expiration") for seconds in (0, 1.5, 0.0019, None)]
    assert sent == ["0", "1500", "1", None]


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert check_size(b"xxxx", 4) == b"xxxx"
    with pytest.raises(MessageTooLarge, match="body has 5 bytes, at most 4 are allowed; send less at once") as caught:
        check_size(b"xxxxx", 4)
    assert (caught.value.part, caught.value.size, caught.value.limit) == ("body", 5, 4)
