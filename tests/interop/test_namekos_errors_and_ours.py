"""One outcome, from nameko's service and from ours, as it stands on the wire: the table of error objects."""

from typing import Any

import odd_outcomes
import pytest
from kombu import serialization
from raw_caller import RawCaller, call_body

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")


def _replies(caller: RawCaller, kind: str, name: str) -> tuple[Any, Any]:
    """Give nameko's reply and ours."""
    body = call_body(kind, name)
    return caller.ask_for_json("nameko_shop.outcome", body), caller.ask_for_json("our_shop.outcome", body)


@pytest.mark.parametrize("name", odd_outcomes.ERRORS)
def test_an_error_is_what_nameko_makes_of_it(raw_caller: RawCaller, name: str) -> None:
    theirs, ours = _replies(raw_caller, "error", name)
    assert ours == theirs
    assert ours["result"] is None


@pytest.mark.parametrize("name", odd_outcomes.RESULTS)
def test_a_result_is_what_nameko_makes_of_it(raw_caller: RawCaller, name: str) -> None:
    body = call_body("result", name)
    theirs = raw_caller.ask("nameko_shop.outcome", body)
    assert raw_caller.ask("our_shop.outcome", body).body == theirs.body
    assert '"error": null' in theirs.body


@pytest.mark.parametrize("name", odd_outcomes.UNSERIALIZABLE)
def test_an_unserializable_result_is_named_as_nameko_names_it(raw_caller: RawCaller, name: str) -> None:
    theirs, ours = _replies(raw_caller, "result", name)
    for reply in (theirs, ours):
        # Two objects in two processes have two addresses.
        reply["error"]["value"] = reply["error"]["value"].partition(" at 0x")[0]
    assert ours == theirs
    assert ours["error"]["exc_type"] == "UnserializableValueError"


DEADLY = ("error", "surrogate", "msgpack")
"""nameko takes it for granted that an error object can be encoded; msgpack cannot encode half a pair, and it dies."""


def _outcomes() -> list[tuple[str, str]]:
    return [("error", name) for name in odd_outcomes.ERRORS] + [("result", name) for name in odd_outcomes.RESULTS]


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_other_serializers_make_of_outcomes_what_they_make_in_nameko(raw_caller: RawCaller, serializer: str) -> None:
    """All results and errors at once: what some serializers can send others cannot."""
    differences = {}
    for kind, name in _outcomes():
        if (kind, name, serializer) == DEADLY:
            continue
        content_type, encoding, body = serialization.dumps({"args": [kind, name], "kwargs": {}}, serializer)
        sent = body if isinstance(body, bytes) else body.encode()
        theirs, ours = (
            raw_caller.ask(f"{shop}.outcome", sent, content_type=content_type, content_encoding=encoding)
            for shop in ("nameko_shop", "our_shop")
        )
        assert ours.properties["content_type"] == theirs.properties["content_type"] == content_type
        if ours.body != theirs.body:
            differences[name] = (theirs.body, ours.body)
    assert differences == {}


def test_an_error_that_the_serializer_cannot_encode_is_answered_by_us(raw_caller: RawCaller) -> None:
    kind, name, serializer = DEADLY
    content_type, encoding, body = serialization.dumps({"args": [kind, name], "kwargs": {}}, serializer)
    reply = raw_caller.ask("our_shop.outcome", body, content_type=content_type, content_encoding=encoding)
    error = serialization.loads(reply.body, reply.properties["content_type"], "binary", force=True)["error"]
    assert error["exc_type"] == "UnserializableValueError"
    assert "ValueError" in error["value"].removeprefix("Unserializable value: `")
