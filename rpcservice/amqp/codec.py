"""Serializers: how values become bodies, and which content types are accepted."""

import codecs
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from json import scanner
from typing import Any

from kombu import serialization
from kombu.utils import json as kombu_json

from rpcservice.amqp.compression import unpack
from rpcservice.amqp.fastjson import Dumps, Loads, quicken
from rpcservice.config import import_named
from rpcservice.core.resource import Resource
from rpcservice.errors import ConfigError, MalformedRequest, MissingExtra, UnserializableValueError

RAW_TYPES = (None, "application/data", "application/text")
"""Content types of bodies that no serializer has made; kombu hands them on as they are."""
_RAW_ENCODINGS = ("binary", "ascii-8bit")
_INSTALL_FAST = 'pip install "rpcservice[fast]"'
_SLOW_ENCODINGS = ("punycode", "idna")
"""Of texts as long as a name: a megabyte of punycode takes minutes, in which nothing else runs."""


@dataclass(frozen=True)
class Codec:
    """One serializer, and what it writes into a message's properties."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Dumps
    loads: Loads

    def encode(self, value: object) -> bytes:
        """Encode a value.

        Raises:
            UnserializableValueError: The serializer cannot.
        """
        try:
            return self.dumps(value)
        except Exception as exc:
            raise UnserializableValueError(value) from exc


def _json_codec(fast: bool | None) -> Codec:
    """Give kombu's json, with an encoder and a decoder that are built once; the standard library makes one a call.

    Args:
        fast: Whether orjson and msgspec are used; None uses them where they are installed.

    Raises:
        MissingExtra: They are to be used, and are not there.
    """
    encode_into = _json_encoder()
    make_scanner: Any = scanner.make_scanner
    scan = make_scanner(json.JSONDecoder())
    plain = json.JSONDecoder().decode
    with_types = json.JSONDecoder(object_hook=kombu_json.object_hook).decode

    def dumps(value: Any) -> bytes:
        return "".join(encode_into(value, 0)).encode("ascii")

    def loads(body: bytes) -> Any:
        text = body.decode("utf-8")
        # The hook costs a Python call for each object in the body; only dates and their like need it. A single letter
        # is found several times faster.
        if "_" in text and "__type__" in text:
            return with_types(text)
        try:
            value, end = scan(text, 0)
        except StopIteration:
            end = -1
        # White space around the value, or something that is no JSON: for the decoder that tells what is wrong.
        return value if end == len(text) else plain(text)

    functions: tuple[Dumps, Loads] = (dumps, loads)
    if fast is not False:
        try:
            functions = quicken(dumps, loads)
        except ImportError as exc:
            if fast:
                raise MissingExtra(f"fast_json: true needs orjson and msgspec ({exc}); run: {_INSTALL_FAST}") from exc
    return Codec("json", "application/json", "utf-8", *functions)


def _json_encoder() -> Callable[[Any, int], Iterable[str]]:
    encoder = kombu_json.JSONEncoder()
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: encoder.iterencode(value)
    # Without a record of what is being encoded: a value that holds itself ends as RecursionError.
    made: Callable[[Any, int], Iterable[str]] = make(
        None, encoder.default, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
    )
    return made


def raw_codec(content_type: str, content_encoding: str = "utf-8") -> Codec:
    """Give what takes bytes and texts for encoded already."""

    def dumps(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise TypeError(f"a body of type {content_type} is given as bytes or as a text")
        return value.encode(content_encoding)

    def loads(body: bytes) -> Any:
        if content_encoding in _RAW_ENCODINGS:
            return body
        if codecs.lookup(content_encoding).name in _SLOW_ENCODINGS:
            raise ValueError(f"content encoding {content_encoding!r} is not for bodies")
        return body.decode(content_encoding)

    return Codec("raw", content_type, content_encoding, dumps, loads)


def _kombu_codec(name: str) -> Codec:
    registry = serialization.registry
    if name == "msgpack":
        _require_msgpack()
    try:
        content_type, content_encoding, encoder = registry._encoders[name]
    except KeyError:
        known = ", ".join(sorted(registry._encoders))
        raise ConfigError(
            f"serializer {name!r} is not known; give one of {known}, or describe it under SERIALIZERS"
        ) from None
    decoder = registry._decoders[content_type]

    def dumps(value: Any) -> bytes:
        encoded = encoder(value)
        return encoded if isinstance(encoded, bytes) else encoded.encode("utf-8")

    return Codec(name, content_type, content_encoding, dumps, decoder)


def _require_msgpack() -> None:
    try:
        import_module("msgpack")
    except ImportError as exc:
        raise MissingExtra('serializer "msgpack" needs msgpack; run: pip install "rpcservice[msgpack]"') from exc


def _own_codec(name: str, description: Mapping[str, str]) -> Codec:
    encoder = import_named(description["encoder"], f"SERIALIZERS.{name}.encoder")
    decoder = import_named(description["decoder"], f"SERIALIZERS.{name}.decoder")
    content_encoding = description.get("content_encoding", "utf-8")
    is_binary = content_encoding == "binary"

    def dumps(value: Any) -> bytes:
        encoded: Any = encoder(value)
        return encoded if isinstance(encoded, bytes) else encoded.encode(content_encoding)

    def loads(body: bytes) -> Any:
        return decoder(body if is_binary else body.decode(content_encoding))

    return Codec(name, description.get("content_type", f"application/x-{name}"), content_encoding, dumps, loads)


class Decoder:
    """Decodes the bodies of some content types.

    Args:
        accepted: The serializers that are accepted.
        raw_types: Content types of bodies that are handed on as they are: as texts, or as bytes where the message's
            ``content_encoding`` is binary.
        limit: The most bytes that a compressed body may hold.
    """

    def __init__(self, accepted: Iterable[Codec], raw_types: Iterable[str | None], limit: int) -> None:
        self.codecs: dict[str | None, Codec] = {codec.content_type: codec for codec in accepted}
        self._raw_types = frozenset(raw_types)
        self._limit = limit

    def decode(self, body: bytes, properties: Mapping[str, Any]) -> Any:
        """Decode a body by its content type.

        Raises:
            MalformedRequest: The content type is not accepted, or the body does not fit it.
        """
        content_type = properties.get("content_type")
        codec = self.codecs.get(content_type)
        if codec is None:
            codec = self._raw(content_type, properties)
        try:
            headers = properties.get("headers")
            # As for kombu, an empty one is none.
            if headers and (compression := headers.get("compression")):
                body = unpack(body, compression, self._limit)
            return codec.loads(body)
        except Exception as exc:
            raise MalformedRequest(f"the body cannot be decoded as {content_type}: {exc}") from exc

    def _raw(self, content_type: str | None, properties: Mapping[str, Any]) -> Codec:
        if content_type not in self._raw_types:
            accepted = ", ".join(str(known) for known in self.codecs)
            raise MalformedRequest(
                f"content type {content_type!r} is not accepted here, only: {accepted}{_how_to_accept(content_type)}"
            )
        return raw_codec(str(content_type), str(properties.get("content_encoding") or "utf-8").lower())


def _how_to_accept(content_type: Any) -> str:
    name = serialization.registry.type_to_name.get(content_type) if isinstance(content_type, str) else None
    if name is None:
        return ""
    danger = "; whoever may publish can then run code here" if name == "pickle" else ""
    return f'; name "{name}" in ACCEPT to have it accepted{danger}'


class Codecs(Resource):
    """The serializers that the configuration names: one for what is sent, all for what is accepted."""

    decode: Callable[[bytes, Mapping[str, Any]], Any]
    """Decodes a body by its content type, as :meth:`Decoder.decode` does, where ``ACCEPT`` has it."""

    def setup(self) -> None:
        """Find the serializers.

        Raises:
            ConfigError: One of them is not known.
            MissingExtra: One of them needs a package that is not installed.
        """
        self._by_name: dict[str, Codec] = {}
        self.default = self.named(self.config.serializer)
        for name in self.config.serializers:
            # Whether or not somebody uses it now: a slip is found at the start, and not by a message.
            self.named(name)
        names = self.config.accept or (self.config.serializer,)
        accepting = Decoder(map(self.named, names), (), self.config.max_message_size)
        self._accepted = accepting.codecs
        self.decode = accepting.decode

    def named(self, name: str) -> Codec:
        """Give a serializer by its name."""
        codec = self._by_name.get(name)
        if codec is None:
            own = self.config.serializers.get(name)
            if own is not None:
                codec = _own_codec(name, own)
            elif name == "json":
                codec = _json_codec(self.config.fast_json)
            else:
                codec = _kombu_codec(name)
            self._by_name[name] = codec
        return codec

    def for_type(self, content_type: str | None) -> Codec:
        """Give the serializer for the answer to a request of that content type, accepted or not; else the default."""
        codec = self._accepted.get(content_type)
        return self._refused(content_type) if codec is None else codec

    def _refused(self, content_type: str | None) -> Codec:
        # Encoding does no harm, and the caller may well accept nothing but what it sends.
        name = None if content_type is None else self._name_of(content_type)
        try:
            return self.default if name is None else self.named(name)
        except (ConfigError, MissingExtra):
            return self.default

    def dump_named(self, value: Any) -> bytes:
        """Encode a value with the serializer for what is sent, and note its name.

        Raises:
            UnserializableValueError: It cannot be encoded.
        """
        return self.default.name.encode() + b"\n" + self.default.encode(value)

    def load_named(self, data: bytes) -> Any:
        """Decode what :meth:`dump_named` gave, maybe with another configuration.

        Raises:
            MalformedRequest: Its serializer is not accepted any more, or it has been damaged.
        """
        name, _, body = data.partition(b"\n")
        codec = next((codec for codec in (self.default, *self._accepted.values()) if codec.name.encode() == name), None)
        if codec is None:
            raise MalformedRequest(f"a result was kept as {name[:50]!r}, which is neither serializer nor in ACCEPT")
        try:
            return codec.loads(body)
        except Exception as exc:
            raise MalformedRequest(f"a result that was kept cannot be decoded as {codec.name}: {exc}") from exc

    def decoder(self, accept: Iterable[str] | None = None) -> Decoder:
        """Give what decodes messages that need not come from a service of this framework.

        Bodies that no serializer has made are handed on as texts, or as bytes.

        Args:
            accept: Names of serializers, and content types; None is ``ACCEPT``.

        Raises:
            ConfigError: One of them is not known.
        """
        accepted = [*self._accepted.values()] if accept is None else []
        raw_types = list(RAW_TYPES)
        for name in accept or ():
            known = self._name_of(name) if "/" in name else name
            if known is None:
                raw_types.append(name)
            else:
                accepted.append(self.named(known))
        return Decoder(accepted, raw_types, self.config.max_message_size)

    def _name_of(self, content_type: str) -> str | None:
        """Give the name of the serializer for a content type."""
        for name, description in self.config.serializers.items():
            if description.get("content_type", f"application/x-{name}") == content_type:
                return name
        known: str | None = serialization.registry.type_to_name.get(content_type)
        return known
