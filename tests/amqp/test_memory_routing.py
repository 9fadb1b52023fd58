"""Matching of topics and headers, against plain definitions of both."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rpcservice.amqp.memory_routing import Exchange, headers_match, split_words, topic_matches

WORDS = st.lists(st.sampled_from(["a", "b", ""]), max_size=6).map(tuple)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=6).map(tuple)


def matches_by_definition(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches_by_definition(pattern[1:], words[count:]) for count in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches_by_definition(pattern[1:], words[1:])


@given(PATTERNS, WORDS)
def test_topic_matches_as_defined(pattern: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert topic_matches(pattern, words) == matches_by_definition(pattern, words)


def test_topic_of_many_hashes_is_matched_without_searching() -> None:
    """Naive backtracking would take longer than the universe has."""
    assert not topic_matches(("#", "a") * 60, ("a",) * 59 + ("b",) * 200)


def test_empty_key_has_no_words() -> None:
    assert (split_words(""), split_words("."), split_words("a.b")) == ((), ("", ""), ("a", "b"))


def test_header_values_of_other_types_do_not_match() -> None:
    assert not headers_match({"a": 1}, {"a": True})
    assert not headers_match({"a": "1"}, {"a": 1})
    assert headers_match({"a": None}, {"a": 0})


def make(name: str) -> Exchange:
    return Exchange(name, "direct", durable=True, auto_delete=False, arguments={})


def test_equal_bindings_are_one() -> None:
    source, target = make("source"), make("target")
    assert source.bind(target, "k", {"a": 1, "b": 2})
    assert not source.bind(target, "k", {"b": 2, "a": 1})
    assert source.bind(target, "k", {})
    assert len(source.bindings()) == 2


def test_unbinding_leaves_nothing_behind() -> None:
    source, target = make("source"), make("target")
    source.bind(target, "k", {})
    assert source.unbind(target, "k", {})
    assert not source.unbind(target, "k", {})
    assert (source.outbound, target.inbound) == ({}, {})
