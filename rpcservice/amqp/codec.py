"""Serializers: how values become bodies, and which content types are accepted."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from json import scanner
from typing import Any

from kombu import compression, serialization
from kombu.utils import json as kombu_json

from rpcservice.core.resource import Resource
from rpcservice.errors import ConfigError, MalformedRequest, UnserializableValueError


@dataclass(frozen=True)
class Codec:
    """One serializer, and what it writes into a message's properties."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]

    def encode(self, value: object) -> bytes:
        """Encode a value.

        Raises:
            UnserializableValueError: The serializer cannot.
        """
        try:
            return self.dumps(value)
        except Exception as exc:
            raise UnserializableValueError(value) from exc


def _json_codec() -> Codec:
    """Give kombu's json, with an encoder and a decoder that are built once; the standard library makes one a call."""
    encode_into = _json_encoder()
    make_scanner: Any = scanner.make_scanner
    scan = make_scanner(json.JSONDecoder())
    plain = json.JSONDecoder().decode
    with_types = json.JSONDecoder(object_hook=kombu_json.object_hook).decode

    def dumps(value: Any) -> bytes:
        return "".join(encode_into(value, 0)).encode("ascii")

    def loads(body: bytes) -> Any:
        text = body.decode("utf-8")
        # The hook costs a Python call for each object in the body; only dates and their like need it.
        if "__type__" in text:
            return with_types(text)
        try:
            value, end = scan(text, 0)
        except StopIteration:
            end = -1
        # White space around the value, or something that is no JSON: for the decoder that tells what is wrong.
        return value if end == len(text) else plain(text)

    return Codec("json", "application/json", "utf-8", dumps, loads)


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


def _kombu_codec(name: str) -> Codec:
    registry = serialization.registry
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


def _own_codec(name: str, description: Mapping[str, str]) -> Codec:
    encoder = _import(description["encoder"], f"SERIALIZERS.{name}.encoder")
    decoder = _import(description["decoder"], f"SERIALIZERS.{name}.decoder")
    content_encoding = description.get("content_encoding", "utf-8")
    is_binary = content_encoding == "binary"

    def dumps(value: Any) -> bytes:
        encoded: Any = encoder(value)
        return encoded if isinstance(encoded, bytes) else encoded.encode(content_encoding)

    def loads(body: bytes) -> Any:
        return decoder(body if is_binary else body.decode(content_encoding))

    return Codec(name, description.get("content_type", f"application/x-{name}"), content_encoding, dumps, loads)


def _import(path: str, key: str) -> Callable[[Any], Any]:
    module, _, name = path.rpartition(".")
    try:
        found: Callable[[Any], Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigError(f"{key} is {path!r}, which cannot be imported: {exc}") from exc
    return found


class Codecs(Resource):
    """The serializers that the configuration names: one for what is sent, all for what is accepted."""

    def setup(self) -> None:
        """Find the serializers.

        Raises:
            ConfigError: One of them is not known.
        """
        names = [self.config.serializer, *self.config.accept]
        self._by_name: dict[str, Codec] = {}
        self.default = self.named(self.config.serializer)
        accepted = [self.named(name) for name in (self.config.accept or names[:1])]
        self._accepted = {codec.content_type: codec for codec in accepted}

    def named(self, name: str) -> Codec:
        """Give a serializer by its name."""
        codec = self._by_name.get(name)
        if codec is None:
            own = self.config.serializers.get(name)
            if own is not None:
                codec = _own_codec(name, own)
            elif name == "json":
                codec = _json_codec()
            else:
                codec = _kombu_codec(name)
            self._by_name[name] = codec
        return codec

    def for_type(self, content_type: str | None) -> Codec:
        """Give the serializer for a content type that is accepted, else the default one."""
        return self._accepted.get(content_type or "", self.default)

    def decode(self, body: bytes, properties: Mapping[str, Any]) -> Any:
        """Decode a body by its content type.

        Raises:
            MalformedRequest: The content type is not accepted, or the body does not fit it.
        """
        content_type = properties.get("content_type")
        codec = self._accepted.get(content_type or "")
        if codec is None:
            accepted = ", ".join(self._accepted)
            raise MalformedRequest(f"content type {content_type!r} is not accepted here, only: {accepted}")
        try:
            headers = properties.get("headers")
            if headers and "compression" in headers:
                body = compression.decompress(body, headers["compression"])
            return codec.loads(body)
        except Exception as exc:
            raise MalformedRequest(f"the body cannot be decoded as {content_type}: {exc}") from exc
