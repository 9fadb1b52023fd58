"""Serializers, and what is accepted of others."""

import datetime
import decimal
import gzip
import json
import pickle
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from kombu.utils import json as kombu_json

from rpcservice.amqp.codec import Codecs
from rpcservice.errors import ConfigError, MalformedRequest, MissingExtra, UnserializableValueError
from rpcservice.testing import FakeHost

NOW = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
IDENTIFIER = uuid.UUID("12345678-1234-4234-8234-123456789abc")


def shout(value: Any) -> str:
    return json.dumps(value).upper()


def whisper(text: str) -> Any:
    return json.loads(text.lower())


def to_bytes(value: Any) -> bytes:
    return b"\xff" + json.dumps(value).encode()


def from_bytes(data: bytes) -> Any:
    return json.loads(data[1:])


@pytest.fixture
def codecs() -> Callable[..., Codecs]:
    return lambda **settings: FakeHost(config=settings).resource(Codecs)


def json_properties(**more: Any) -> dict[str, Any]:
    return {"content_type": "application/json", **more}


@pytest.mark.parametrize(
    "value",
    [None, True, 1.5, "ü€", [1, [2, {}]], {"a": {"b": None}}, NOW, IDENTIFIER, decimal.Decimal("1.10"), NOW.date()],
)
def test_json_is_written_as_nameko_writes_it(codecs: Callable[..., Codecs], value: object) -> None:
    codec = codecs(fast_json=False).default
    assert codec.encode({"value": value}) == kombu_json.dumps({"value": value}).encode()
    assert (codec.content_type, codec.content_encoding) == ("application/json", "utf-8")


@pytest.mark.parametrize("value", [NOW, IDENTIFIER, decimal.Decimal("1.10"), NOW.date(), NOW.time(), b"\xff"])
def test_dates_decimals_and_uuids_come_back_as_themselves(codecs: Callable[..., Codecs], value: object) -> None:
    made = codecs()
    assert made.decode(made.default.encode([value]), json_properties()) == [value]


def test_json_of_other_libraries_is_understood(codecs: Callable[..., Codecs]) -> None:
    assert codecs().decode('{"ü":[1,"€"]}'.encode(), json_properties(content_encoding=None)) == {"ü": [1, "€"]}


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, 1j])
def test_what_json_cannot_hold_is_named(codecs: Callable[..., Codecs], value: object) -> None:
    with pytest.raises(UnserializableValueError) as caught:
        codecs().default.encode(value)
    assert caught.value.value == repr(value)


def test_an_endless_value_is_unserializable(codecs: Callable[..., Codecs]) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnserializableValueError):
        codecs().default.encode(endless)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nothing", b"[" * 100_000])
def test_a_body_that_is_no_json_is_malformed(codecs: Callable[..., Codecs], body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the body cannot be decoded as application/json: "):
        codecs().decode(body, json_properties())


def test_without_accept_only_the_own_serializer_is_accepted(codecs: Callable[..., Codecs]) -> None:
    made = codecs(serializer="yaml")
    assert made.decode(b"a: 1", {"content_type": "application/x-yaml"}) == {"a": 1}
    with pytest.raises(MalformedRequest, match="content type 'application/json' is not accepted here, only: "):
        made.decode(b"{}", json_properties())


def test_a_pickle_is_only_loaded_where_it_is_accepted(codecs: Callable[..., Codecs]) -> None:
    body, properties = pickle.dumps({"a": (1, 2)}), {"content_type": "application/x-python-serialize"}
    with pytest.raises(MalformedRequest, match="is not accepted here"):
        codecs().decode(body, properties)
    assert codecs(ACCEPT=["json", "pickle"]).decode(body, properties) == {"a": (1, 2)}


def test_what_cannot_be_unpickled_is_malformed(codecs: Callable[..., Codecs]) -> None:
    with pytest.raises(MalformedRequest, match="cannot be decoded as application/x-python-serialize"):
        codecs(ACCEPT=["pickle"]).decode(b"no pickle", {"content_type": "application/x-python-serialize"})


@pytest.mark.parametrize(
    ("name", "content_type", "content_encoding"),
    [
        ("json", "application/json", "utf-8"),
        ("yaml", "application/x-yaml", "utf-8"),
        ("pickle", "application/x-python-serialize", "binary"),
    ],
)
def test_each_serializer_has_namekos_content_type(
    codecs: Callable[..., Codecs], name: str, content_type: str, content_encoding: str
) -> None:
    codec = codecs(serializer=name).default
    assert (codec.content_type, codec.content_encoding) == (content_type, content_encoding)
    assert codec.loads(codec.encode({"a": [1, "ü"]})) == {"a": [1, "ü"]}


def test_yaml_makes_no_objects_of_other_classes(codecs: Callable[..., Codecs]) -> None:
    body = yaml.dump(IDENTIFIER).encode()
    with pytest.raises(MalformedRequest, match="could not determine a constructor"):
        codecs(serializer="yaml").decode(body, {"content_type": "application/x-yaml"})


def test_an_unknown_serializer_is_named_with_those_that_exist(codecs: Callable[..., Codecs]) -> None:
    with pytest.raises(ConfigError, match=r"serializer 'jsn' is not known; give one of .*json"):
        codecs(serializer="jsn")


def test_serializers_of_ones_own_are_found_by_path(codecs: Callable[..., Codecs]) -> None:
    own = {
        "loud": {"encoder": f"{__name__}.shout", "decoder": f"{__name__}.whisper", "content_type": "text/x-loud"},
        "raw": {
            "encoder": f"{__name__}.to_bytes",
            "decoder": f"{__name__}.from_bytes",
            "content_type": "application/x-raw",
            "content_encoding": "binary",
        },
    }
    made = codecs(serializer="loud", ACCEPT=["loud", "raw"], SERIALIZERS=own)
    assert made.default.encode({"a": "b"}) == b'{"A": "B"}'
    assert made.decode(b'{"A": "B"}', {"content_type": "text/x-loud"}) == {"a": "b"}
    assert made.named("raw").content_encoding == "binary"
    assert made.decode(made.named("raw").encode([1]), {"content_type": "application/x-raw"}) == [1]


@pytest.mark.parametrize("path", ["no_such_module.dumps", "json.no_such_name"])
def test_a_serializer_that_cannot_be_imported_is_named(codecs: Callable[..., Codecs], path: str) -> None:
    own = {"broken": {"encoder": path, "decoder": "json.loads", "content_type": "text/x-broken"}}
    with pytest.raises(ConfigError, match=rf"SERIALIZERS\.broken\.encoder is '{path}', which cannot be imported"):
        codecs(serializer="broken", SERIALIZERS=own)
    with pytest.raises(ConfigError, match=rf"SERIALIZERS\.broken\.encoder is '{path}', which cannot be imported"):
        codecs(SERIALIZERS=own)


@pytest.mark.parametrize("compression", [None, ""])
def test_a_compression_that_is_empty_is_none(codecs: Callable[..., Codecs], compression: str | None) -> None:
    assert codecs().decode(b"[1]", json_properties(headers={"compression": compression})) == [1]


def test_a_body_that_cannot_be_unpacked_is_malformed(codecs: Callable[..., Codecs]) -> None:
    for compression in ("application/x-bz2", "unknown", 7):
        with pytest.raises(MalformedRequest, match="cannot be decoded"):
            codecs().decode(gzip.compress(b"[1]"), json_properties(headers={"compression": compression}))


def test_msgpack_holds_bytes(codecs: Callable[..., Codecs]) -> None:
    made = codecs(serializer="msgpack")
    codec = made.default
    assert (codec.content_type, codec.content_encoding) == ("application/x-msgpack", "binary")
    assert made.decode(codec.encode({"a": b"\xff"}), {"content_type": "application/x-msgpack"}) == {"a": b"\xff"}


def test_a_serializer_that_is_not_installed_is_named_with_its_extra(
    codecs: Callable[..., Codecs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingExtra, match=r'needs msgpack; run: pip install "rpcservice\[msgpack\]"'):
        codecs(ACCEPT=["json", "msgpack"])


# What consumers accept


def test_consumers_are_handed_bodies_that_no_serializer_has_made(codecs: Callable[..., Codecs]) -> None:
    made = codecs()
    decode = made.decoder().decode
    assert decode("ü".encode(), {}) == "ü"
    assert decode("ü".encode(), {"content_type": "application/data", "content_encoding": "UTF-8"}) == "ü"
    assert decode(b"\xfc", {"content_type": "application/text", "content_encoding": "latin-1"}) == "ü"
    assert decode(b"\xfc", {"content_encoding": "binary"}) == b"\xfc"
    assert decode(b"[1]", json_properties()) == [1]
    with pytest.raises(MalformedRequest, match="content type None is not accepted here"):
        made.decode(b"x", {})


@pytest.mark.parametrize("encoding", ["utf-8", "no-such-encoding"])
def test_a_text_in_another_encoding_is_malformed(codecs: Callable[..., Codecs], encoding: str) -> None:
    with pytest.raises(MalformedRequest, match="cannot be decoded as None"):
        codecs().decoder().decode(b"\xfc", {"content_encoding": encoding})


def test_consumers_accept_serializers_by_name_and_by_content_type(codecs: Callable[..., Codecs]) -> None:
    own = {"loud": {"encoder": f"{__name__}.shout", "decoder": f"{__name__}.whisper", "content_type": "text/x-loud"}}
    decode = codecs(SERIALIZERS=own).decoder(["pickle", "application/x-yaml", "text/x-loud", "text/plain"]).decode
    assert decode(pickle.dumps(1), {"content_type": "application/x-python-serialize"}) == 1
    assert decode(b"a: 1", {"content_type": "application/x-yaml"}) == {"a": 1}
    assert decode(b'{"A": 1}', {"content_type": "text/x-loud"}) == {"a": 1}
    assert decode(b"hello", {"content_type": "text/plain"}) == "hello"
    with pytest.raises(MalformedRequest, match="content type 'application/json' is not accepted here"):
        decode(b"1", json_properties())


def test_an_answer_is_in_the_serializer_of_the_request_whether_accepted_or_not(codecs: Callable[..., Codecs]) -> None:
    """The caller may accept no other."""
    made = codecs(ACCEPT=["json", "yaml"])
    assert made.for_type("application/x-yaml").name == "yaml"
    assert made.for_type("application/x-python-serialize").name == "pickle"


def test_an_answer_to_a_type_that_is_not_known_is_in_the_default(codecs: Callable[..., Codecs]) -> None:
    made = codecs(ACCEPT=["json", "yaml"])
    assert made.for_type("text/plain") is made.default
    assert made.for_type(None) is made.default


def test_an_answer_in_a_serializer_that_is_not_installed_is_in_the_default(
    codecs: Callable[..., Codecs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    made = codecs(ACCEPT=["json"])
    assert made.for_type("application/x-msgpack") is made.default


# Values that are kept with the name of their serializer


@pytest.mark.parametrize("serializer", ["json", "yaml", "pickle"])
def test_a_value_that_is_kept_comes_back(codecs: Callable[..., Codecs], serializer: str) -> None:
    made = codecs(serializer=serializer)
    assert made.load_named(made.dump_named({"a": [1, "\n"]})) == {"a": [1, "\n"]}


def test_a_value_may_have_been_kept_with_another_serializer(codecs: Callable[..., Codecs]) -> None:
    kept = codecs(serializer="yaml").dump_named([1])
    assert codecs(ACCEPT=["json", "yaml"]).load_named(kept) == [1]


@pytest.mark.parametrize("kept", [b"pickle\n" + pickle.dumps(1), b"", b"json", b"json\n{", b"\xff\n1"])
def test_what_was_kept_otherwise_is_refused(codecs: Callable[..., Codecs], kept: bytes) -> None:
    """Whoever may write into the store must not be able to run code here."""
    with pytest.raises(MalformedRequest, match=r"a result .*was kept"):
        codecs().load_named(kept)


def test_a_value_that_cannot_be_kept_is_named(codecs: Callable[..., Codecs]) -> None:
    with pytest.raises(UnserializableValueError, match="object object"):
        codecs().dump_named(object())
