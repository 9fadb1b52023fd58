"""Messages that are kept in memory look as if they had been on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcservice.amqp.link import Message
from rpcservice.amqp.memory_message import Stored, copy_properties, snapshot, with_death
from rpcservice.amqp.memory_queue import Queue
from rpcservice.amqp.memory_vhost import VirtualHost
from rpcservice.amqp.properties import decode_properties, encode_properties
from rpcservice.errors import MessageTooLarge

TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
HALVES = st.text(st.sampled_from("aü\ud83e\udd54"), max_size=4)
VALUES = st.one_of(
    TEXT,
    HALVES,
    st.booleans(),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(TEXT | HALVES, max_size=3),
    st.dictionaries(TEXT, TEXT),
)
SHORT = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=60))
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "delivery_mode": st.sampled_from([None, 1, 2]),
        "priority": st.integers(0, 255),
        "timestamp": st.integers(0, 2**40),
        "headers": st.one_of(st.none(), st.dictionaries(SHORT.filter(bool) | HALVES, VALUES)),
        "unknown": TEXT,
    },
)


@given(PROPERTIES)
def test_snapshot_is_what_the_wire_would_give(properties: dict[str, Any]) -> None:
    assert snapshot(Message("", "", b"", properties)) == decode_properties(encode_properties(properties))


def test_snapshot_is_as_strict_as_the_wire() -> None:
    with pytest.raises(MessageTooLarge, match="headers"):
        snapshot(Message("", "", b"", {"headers": {f"h{number}": "x" * 100 for number in range(1300)}}))
    assert snapshot(Message("", "", b"", {"headers": {"h": "x" * 100_000}}))["headers"] == {"h": "x" * 100_000}


def test_copy_shares_nothing_that_can_change() -> None:
    original = {"type": "t", "headers": {"list": [1, [2]], "table": {"k": [3]}}}
    copied = copy_properties(original)
    copied["headers"]["list"][1].append("changed")
    copied["headers"]["table"]["k"].append("changed")
    assert original == {"type": "t", "headers": {"list": [1, [2]], "table": {"k": [3]}}}


def test_death_is_noted_over_whatever_a_sender_put_there(queue: Queue) -> None:
    stored = Stored(b"", {"headers": {"x-death": "nonsense", "h": "x"}}, "e", "k")
    stored.queue = queue
    headers = with_death(stored, "rejected")["headers"]
    assert [(death["queue"], death["reason"], death["count"]) for death in headers["x-death"]] == [("q", "rejected", 1)]
    assert headers["h"] == "x"
    assert stored.properties["headers"]["x-death"] == "nonsense"


@pytest.fixture
def queue() -> Queue:
    from rpcservice.amqp.memory_broker import MemoryBroker

    vhost = VirtualHost(MemoryBroker("unit"), "/")
    return Queue(vhost, "q", durable=True, auto_delete=False, owner=None, arguments={})
