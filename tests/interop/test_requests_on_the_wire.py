"""What a service answers to each kind of request, as it stands on the wire; beside what nameko makes of the same."""

from typing import Any

import pytest
from raw_caller import UNDECODABLE, RawCaller, call_body, reply_value

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")

BOTH = pytest.mark.parametrize("shop", ["our_shop", "nameko_shop"])


def _error(reply: Any) -> tuple[str, str, list[str]]:
    assert reply["result"] is None
    error = reply["error"]
    assert error["exc_path"] == f"nameko.exceptions.{error['exc_type']}"
    return error["exc_type"], error["value"], error["exc_args"]


@BOTH
def test_a_result_is_answered(raw_caller: RawCaller, shop: str) -> None:
    assert raw_caller.ask_for_json(f"{shop}.add", call_body(2, right=5)) == {"result": 7, "error": None}


@BOTH
def test_a_reply_has_namekos_properties(raw_caller: RawCaller, shop: str) -> None:
    reply = raw_caller.ask(f"{shop}.add", call_body(1), correlation_id="the correlation")
    properties = {**reply.properties}
    if shop == "our_shop":
        assert properties.pop("app_id") == "rpcservice"
        assert properties.pop("message_id")
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "application_headers": {},
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": "the correlation",
    }
    assert reply.delivery_info["exchange"] == "nameko-rpc"


@BOTH
def test_an_unknown_method_is_answered(raw_caller: RawCaller, shop: str) -> None:
    """Our text is a sentence; nameko's callers look at the argument alone."""
    type_name, text, arguments = _error(raw_caller.ask_for_json(f"{shop}.nope"))
    assert (type_name, arguments) == ("MethodNotFound", ["nope"])
    assert text == "nope" if shop == "nameko_shop" else text.startswith("service 'our_shop' has no @rpc method 'nope'")


@BOTH
@pytest.mark.parametrize("body", [b'{"args": []}', b'{"kwargs": {}}', b"{}"])
def test_missing_arguments_are_answered(raw_caller: RawCaller, shop: str, body: bytes) -> None:
    text = "Message missing `args` or `kwargs`"
    assert _error(raw_caller.ask_for_json(f"{shop}.add", body)) == ("MalformedRequest", text, [text])


@pytest.mark.parametrize("body", [b"[1, 2]", b'"text"', b"5", b"null", b"true"])
def test_a_body_that_is_no_mapping_is_answered(raw_caller: RawCaller, body: bytes) -> None:
    type_name, text, _ = _error(raw_caller.ask_for_json("our_shop.add", body))
    assert type_name == "MalformedRequest"
    assert text.startswith("the body of a request is a mapping with `args` and `kwargs`, not ")
    assert raw_caller.ask_for_json("nameko_shop.add", body)["error"]["exc_type"] == "TypeError"


@BOTH
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (call_body(), "required"),
        (call_body(1, 2, 3), "positional arguments"),
        (call_body(1, left=2), "multiple values for argument 'left'"),
        (call_body(1, other=2), "got an unexpected keyword argument 'other'"),
    ],
)
def test_arguments_that_do_not_fit_are_answered(raw_caller: RawCaller, shop: str, body: bytes, words: str) -> None:
    type_name, text, arguments = _error(raw_caller.ask_for_json(f"{shop}.add", body))
    assert (type_name, arguments) == ("IncorrectSignature", [text])
    assert words in text


@BOTH
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [("5", "{}"), ("null", "{}"), ("[1]", "5"), ("[1]", "[]"), ("[1]", "null"), ('["a"]', '"kwargs"')],
)
def test_arguments_of_a_wrong_kind_are_answered(raw_caller: RawCaller, shop: str, args: str, kwargs: str) -> None:
    body = f'{{"args": {args}, "kwargs": {kwargs}}}'.encode()
    assert raw_caller.ask_for_json(f"{shop}.add", body)["error"]["exc_type"] == "IncorrectSignature"


@BOTH
def test_arguments_may_be_any_iterable(raw_caller: RawCaller, shop: str) -> None:
    """A text is gone through letter by letter, a mapping key by key."""
    body = b'{"args": "ab", "kwargs": {}}'
    assert raw_caller.ask_for_json(f"{shop}.echo", body)["result"]["args"] == ["a", "b"]
    body = b'{"args": {"c": 1, "d": 2}, "kwargs": {}}'
    assert raw_caller.ask_for_json(f"{shop}.echo", body)["result"]["args"] == ["c", "d"]


@BOTH
def test_other_keys_of_a_request_are_ignored(raw_caller: RawCaller, shop: str) -> None:
    body = b'{"args": [1], "kwargs": {}, "more": true}'
    assert raw_caller.ask_for_json(f"{shop}.add", body) == {"result": 2, "error": None}


@BOTH
def test_text_may_be_utf_8_or_escapes(raw_caller: RawCaller, shop: str) -> None:
    text = "Übergröße 漢字 🧭"
    body = f'{{"args": ["{text}", "\\u00dc"], "kwargs": {{"schlüssel": 1}}}}'.encode()
    expected = {"args": [text, "Ü"], "kwargs": {"schlüssel": 1}}
    assert raw_caller.ask_for_json(f"{shop}.echo", body)["result"] == expected


@BOTH
def test_an_absent_correlation_id_stays_absent(raw_caller: RawCaller, shop: str) -> None:
    reply = raw_caller.ask(f"{shop}.add", call_body(1), correlation_id=None)
    assert "correlation_id" not in reply.properties


@BOTH
def test_headers_may_be_absent(raw_caller: RawCaller, shop: str) -> None:
    reply = raw_caller.ask_for_json(f"{shop}.add", call_body(1), application_headers=None)
    assert reply == {"result": 2, "error": None}


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "not_a_number": ("echo", {"body": b'{"args": [NaN, Infinity], "kwargs": {}}'}),
    "a_key_twice": ("echo", {"body": b'{"args": [1], "args": [2], "kwargs": {}}'}),
    "white_space": ("echo", {"body": b' \n {"args": [1], "kwargs": {}} \n'}),
    "half_a_pair": ("echo", {"body": b'{"args": ["\\ud83e"], "kwargs": {}}'}),
    "deep": ("echo", {"body": call_body().replace(b"[]", b"[" * 900 + b"]" * 900)}),
    "typed": ("echo", {"body": b'{"args": [{"__type__": "date", "__value__": "2024-02-29"}], "kwargs": {}}'}),
    "typed_text": ("echo", {"body": b'{"args": ["__type__"], "kwargs": {"__type__": 1}}'}),
    "typed_request": ("echo", {"body": b'{"__type__": "decimal", "__value__": "1", "args": [1], "kwargs": {}}'}),
    "no_encoding": ("echo", {"body": '{"args": ["ü"], "kwargs": {}}'.encode(), "content_encoding": None}),
    "odd_encoding": ("echo", {"body": '{"args": ["ü"], "kwargs": {}}'.encode(), "content_encoding": "klingon"}),
    "number_as_keyword": ("echo", {"body": b"args: []\nkwargs: {1: 2}", "content_type": "application/x-yaml"}),
    "yaml_date": ("echo", {"body": b"args: [2024-02-29]\nkwargs: {}", "content_type": "application/x-yaml"}),
    "no_priority": ("add", {"body": call_body(1), "priority": None, "delivery_mode": None}),
    "greatest_priority": ("add", {"body": call_body(1), "priority": 255}),
    "expiration": ("add", {"body": call_body(1), "expiration": "60000"}),
    "transient": ("add", {"body": call_body(1), "delivery_mode": 1}),
    "long_correlation_id": ("add", {"body": call_body(1), "correlation_id": "ü" * 100}),
    "empty_correlation_id": ("add", {"body": call_body(1), "correlation_id": ""}),
    "no_compression": ("add", {"body": call_body(1), "application_headers": {"compression": None}}),
    "long_header": ("add", {"body": call_body(1), "application_headers": {"x" * 255: "y" * 70_000}}),
    "of_somebody": ("add", {"body": call_body(1), "app_id": "somebody", "user_id": "guest", "type": "a type"}),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_gets_the_reply_that_nameko_gives(raw_caller: RawCaller, name: str) -> None:
    method, request = ODD[name]
    replies = [raw_caller.ask(f"{shop}.{method}", **request) for shop in ("nameko_shop", "our_shop")]
    theirs, ours = ({**reply.properties, "body": reply.body} for reply in replies)
    assert ours.pop("app_id") == "rpcservice"
    assert ours.pop("message_id")
    for properties in (theirs, ours):
        if "correlation_id" not in request:
            assert properties.pop("correlation_id")
    assert ours == theirs


@BOTH
@pytest.mark.parametrize("name", ["", "__init__", "context", "on_pooled", "name"])
def test_what_is_no_method_of_rpc_is_not_found(raw_caller: RawCaller, shop: str, name: str) -> None:
    assert _error(raw_caller.ask_for_json(f"{shop}.{name}"))[::2] == ("MethodNotFound", [name])


@BOTH
def test_a_reply_that_reaches_nobody_does_no_harm(raw_caller: RawCaller, shop: str) -> None:
    for reply_to in ("nobody", "", "x" * 255):
        raw_caller.send(f"{shop}.add", call_body(1), reply_to=reply_to)
    assert raw_caller.ask_for_json(f"{shop}.add", call_body(2))["result"] == 3


@BOTH
def test_a_key_with_more_dots_reaches_nobody(raw_caller: RawCaller, shop: str) -> None:
    """The binding is ``<service>.*``; the answer that comes is that to the request after it."""
    raw_caller.send(f"{shop}.echo.more", call_body("lost"))
    assert raw_caller.ask_for_json(f"{shop}.add", call_body(1))["result"] == 2


def test_our_own_headers_and_the_brokers_never_become_context_data(raw_caller: RawCaller) -> None:
    """nameko copies headers that it does not know and sends them on with its prefix."""
    headers = {
        "rpcservice-attempt": "1",
        "nameko.rpcservice-attempt": "1",
        "x-death": "a",
        "nameko.x-death": "b",
        "nameko.language": "fr",
        "bare": "yes",
    }
    context = raw_caller.ask_for_json("our_shop.see_context", application_headers=headers)["result"]
    assert context.pop("call_id_stack")
    assert context == {"language": "fr", "bare": "yes"}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_what_cannot_be_decoded_is_answered(raw_caller: RawCaller, name: str) -> None:
    """nameko drops such requests without an answer."""
    request: dict[str, Any] = UNDECODABLE[name]
    reply = raw_caller.ask("our_shop.add", **request)
    type_name, text, _ = _error(reply_value(reply))
    assert type_name == "MalformedRequest"
    assert "cannot be decoded as" in text or "is not accepted here" in text


def test_an_empty_body_is_answered(raw_caller: RawCaller) -> None:
    """nameko takes it for an empty text, whatever the content type."""
    assert _error(raw_caller.ask_for_json("our_shop.add", b""))[0] == "MalformedRequest"
    assert raw_caller.ask_for_json("nameko_shop.add", b"")["error"]["exc_type"] == "TypeError"
