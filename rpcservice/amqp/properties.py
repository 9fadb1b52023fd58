"""AMQP 0-9-1 basic properties and field tables as pure functions on bytes.

Basic properties: AMQP 0-9-1 section 1.8; field tables: 4.2.5.5.
"""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any

from amqp.exceptions import FrameSyntaxError
from amqp.serialization import dumps as _dumps
from amqp.serialization import loads as _loads

from rpcservice.errors import MessageTooLarge, NameTooLong, UnserializableValueError

SHORT_STRING_LIMIT = 255
_SHORTER = "use a shorter one (AMQP keeps its length in a byte)"
_SHOWN_OF_NAME = 40
"""Characters."""

_log = logging.getLogger(__name__)

ULONGLONG = Struct(">Q")
_ULONG = Struct(">I")
_USHORT = Struct(">H")
_STRING_HEAD = Struct(">cI")
_INT_ITEM = Struct(">ci")
_LONG_ITEM = Struct(">cq")
_LONG = Struct(">q")
_INT = 0x7FFFFFFF
"""Integers up to here are sent in 32 bits, as py-amqp does it."""
_KNOWN = 500
"""So many encoded names and sets of properties are kept ready; some come from outside, so there is a bound."""

# Wire order. The flag of the first is bit 15; kind "s" is a short string, "F" a table, "o" one octet, "L" 64 bits.
_FIELDS = (
    ("content_type", 0x8000, "s"),
    ("content_encoding", 0x4000, "s"),
    ("headers", 0x2000, "F"),
    ("delivery_mode", 0x1000, "o"),
    ("priority", 0x0800, "o"),
    ("correlation_id", 0x0400, "s"),
    ("reply_to", 0x0200, "s"),
    ("expiration", 0x0100, "s"),
    ("message_id", 0x0080, "s"),
    ("timestamp", 0x0040, "L"),
    ("type", 0x0020, "s"),
    ("user_id", 0x0010, "s"),
    ("app_id", 0x0008, "s"),
    ("cluster_id", 0x0004, "s"),
)
TEXTS = frozenset(name for name, _, kind in _FIELDS if kind == "s")
OCTETS = frozenset(name for name, _, kind in _FIELDS if kind == "o")
LENIENT = "surrogateescape"
"""How bytes that are no UTF-8 become text. Some clients put raw bytes into a correlation id; failing would bring the
message back for ever, and replies need the same bytes."""
_OTHER_SURROGATE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
_BYTES = tuple(bytes((number,)) for number in range(256))


def short_string(text: str, what: str, mend: str = _SHORTER) -> bytes:
    """Encode a short string: its length in one byte, then the text.

    Raises:
        MessageTooLarge: It has more than 255 bytes.
    """
    data = _text_bytes(text)
    if len(data) > SHORT_STRING_LIMIT:
        raise MessageTooLarge(what, len(data), SHORT_STRING_LIMIT, mend)
    return _BYTES[len(data)] + data


def check_names(queue: str = "", exchange: str = "", routing_key: str = "") -> None:
    """Check names that the broker is to be asked about.

    Raises:
        NameTooLong: One has more than 255 bytes.
    """
    for what, name in (("queue", queue), ("exchange", exchange), ("routing key", routing_key)):
        size = len(_text_bytes(name)) if name else 0
        if size > SHORT_STRING_LIMIT:
            shown = f"{what} {name[:_SHOWN_OF_NAME]!r}..."
            raise NameTooLong(shown, size, SHORT_STRING_LIMIT, _SHORTER)


def _text_bytes(text: str) -> bytes:
    """Encode text; what :data:`LENIENT` made of raw bytes becomes those bytes again."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass_through = "surrogateescape" if not _OTHER_SURROGATE.search(text) else "surrogatepass"
        return text.encode("utf-8", pass_through)


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Encode a field table (AMQP 0-9-1 section 4.2.5.5), byte for byte as py-amqp does.

    Raises:
        MessageTooLarge: A key has more than 255 bytes.
        UnserializableValueError: A value has a type that AMQP tables do not know, or a key is no text.
    """
    parts: list[bytes] = []
    for key, value in table.items():
        if not isinstance(key, str):
            raise UnserializableValueError({key: value})
        parts.append(_header_name(key))
        kind = type(value)
        if kind is str:
            data = value.encode("utf-8", "surrogatepass")
            parts += (_STRING_HEAD.pack(b"S", len(data)), data)
        elif kind is list and (strings := _string_array(value)) is not None:
            parts += strings
        elif kind is int and -_INT <= value <= _INT:
            parts.append(_INT_ITEM.pack(b"I", value))
        elif kind is int and -1 << 63 <= value < 1 << 63:
            parts.append(_LONG_ITEM.pack(b"L", value))
        else:
            # Everything else is rare: py-amqp's own encoder, for a table of this one item, less its frame.
            try:
                parts.append(_dumps("F", ({"": value},))[5:])
            except (FrameSyntaxError, StructError, TypeError, RecursionError) as exc:
                raise UnserializableValueError({key: value}) from exc
    encoded = b"".join(parts)
    return _ULONG.pack(len(encoded)) + encoded


@lru_cache(_KNOWN)
def _header_name(key: str) -> bytes:
    return short_string(key, f"header name {key[:40]!r}")


def _string_array(items: list[object]) -> tuple[bytes, bytes] | None:
    """Encode an array that holds texts alone; None for any other."""
    encoded = b""
    for item in items:
        if type(item) is not str:
            return None
        data = item.encode("utf-8", "surrogatepass")
        encoded += _STRING_HEAD.pack(b"S", len(data)) + data
    return _STRING_HEAD.pack(b"A", len(encoded)), encoded


def encode_properties(properties: Mapping[str, Any]) -> bytes:
    """Encode basic properties: the flags and the values of those that are not None.

    Raises:
        MessageTooLarge: A short string has more than 255 bytes.
        UnserializableValueError: A value is not of its property's type.
    """
    get = properties.get
    try:
        flags, before, between, after = _encode_steady(
            get("content_type"),
            get("content_encoding"),
            get("delivery_mode"),
            get("priority"),
            get("type"),
            get("user_id"),
            get("app_id"),
            get("cluster_id"),
        )
    except TypeError as exc:
        raise UnserializableValueError(properties) from exc
    parts = [b"", before]
    if (headers := get("headers")) is not None:
        flags |= 0x2000
        parts.append(encode_table(headers) if type(headers) is dict else _encode_field("headers", "F", headers))
    parts.append(between)
    for name, flag in _CHANGING:
        value = get(name)
        if value is not None:
            flags |= flag
            data = value.encode() if type(value) is str and value.isascii() else _text_bytes(str(value))
            if len(data) > SHORT_STRING_LIMIT:
                raise MessageTooLarge(f"property {name}", len(data), SHORT_STRING_LIMIT, "use a shorter one")
            parts += (_BYTES[len(data)], data)
    if (timestamp := get("timestamp")) is not None:
        flags |= 0x0040
        parts.append(_encode_field("timestamp", "L", timestamp))
    parts.append(after)
    parts[0] = _USHORT.pack(flags)
    return b"".join(parts)


_CHANGING = tuple((name, flag) for name, flag, kind in _FIELDS[5:9])


@lru_cache(_KNOWN, typed=True)
def _encode_steady(*values: Any) -> tuple[int, bytes, bytes, bytes]:
    """Encode what all messages of one kind have in common.

    Gives the flags, and what comes before the headers, between them and the ids, and after all.
    """
    flags, sections = 0, []
    given = iter(values)
    for fields in (_FIELDS[:2], _FIELDS[3:5], _FIELDS[10:]):
        section = b""
        for (name, flag, kind), value in zip(fields, given, strict=False):
            if value is not None:
                flags |= flag
                section += _encode_field(name, kind, value)
        sections.append(section)
    before, between, after = sections
    return flags, before, between, after


def _encode_field(name: str, kind: str, value: Any) -> bytes:
    if kind == "s":
        return short_string(str(value), f"property {name}", "use a shorter one")
    if kind == "F" and isinstance(value, Mapping):
        return encode_table(value)
    if kind == "o" and isinstance(value, int) and 0 <= value <= 255:
        return _BYTES[value]
    if kind == "L" and isinstance(value, int) and 0 <= value < 1 << 64:
        return ULONGLONG.pack(value)
    raise UnserializableValueError({name: value})


def decode_properties(data: bytes, offset: int = 0) -> dict[str, Any]:
    """Decode basic properties into a mapping that has only those that were sent."""
    flags = _USHORT.unpack_from(data, offset)[0]
    offset += 2
    properties: dict[str, Any] = {}
    for name, kind in _layout(flags):
        if kind == "s":
            start = offset + 1
            offset = start + data[offset]
            properties[name] = data[start:offset].decode("utf-8", LENIENT)
        elif kind == "o":
            properties[name] = data[offset]
            offset += 1
        elif kind == "F":
            stop = offset + 4 + _ULONG.unpack_from(data, offset)[0]
            properties[name] = decode_table(data, offset, stop)
            offset = stop
        else:
            properties[name] = ULONGLONG.unpack_from(data, offset)[0]
            offset += 8
    return properties


@lru_cache(_KNOWN)
def _layout(flags: int) -> tuple[tuple[str, str], ...]:
    """Give the names and kinds of the fields that flags announce."""
    return tuple((name, kind) for name, flag, kind in _FIELDS if flags & flag)


def decode_table(data: bytes, offset: int, stop: int) -> dict[str, Any]:
    """Decode the field table that lies in ``data[offset:stop]``, its length first.

    An item that is well formed, but has no counterpart in Python (a timestamp in the year 20000), is left out.
    """
    table: dict[str, Any] = {}
    position = offset + 4
    while position < stop:
        start = position + 1
        position = start + data[position]
        kind = data[position]
        if kind == 0x53:  # S, a long string
            end = position + 5 + _ULONG.unpack_from(data, position + 1)[0]
            try:
                value: Any = data[position + 5 : end].decode()
            except UnicodeDecodeError:
                value = data[position + 5 : end]
            table[data[start:position].decode("utf-8", LENIENT)] = value
            position = end
        elif kind == 0x4C:  # L, 64 bits: the deadline
            table[data[start:position].decode("utf-8", LENIENT)] = _LONG.unpack_from(data, position + 1)[0]
            position += 9
        elif kind == 0x41 and (strings := _read_strings(data, position)) is not None:  # A, an array: the call stack
            table[data[start:position].decode("utf-8", LENIENT)] = strings
            position += 5 + _ULONG.unpack_from(data, position + 1)[0]
        else:
            # py-amqp's decoder for the one item, as an array of its own.
            end = _end_of_item(data, position)
            item = data[position:end]
            try:
                value = _loads("A", _ULONG.pack(len(item)) + item, 0)[0][0][0]
                table[data[start:position].decode("utf-8", LENIENT)] = value
            except (ValueError, OverflowError, OSError, RecursionError):
                _log.warning("a header that Python cannot hold is left out: %s", item[:40])
            position = end
    return table


def _read_strings(data: bytes, position: int) -> list[str] | None:
    """Decode an array that holds long strings alone; None for any other."""
    end = position + 5 + _ULONG.unpack_from(data, position + 1)[0]
    position += 5
    strings = []
    while position < end:
        if data[position] != 0x53:
            return None
        stop = position + 5 + _ULONG.unpack_from(data, position + 1)[0]
        try:
            strings.append(data[position + 5 : stop].decode())
        except UnicodeDecodeError:
            return None
        position = stop
    return strings


_SIZES = {
    code: size
    for size, codes in ((0, "V"), (1, "tbB"), (2, "sUu"), (4, "Iif"), (5, "D"), (8, "LldT"))
    for code in codes
}


def _end_of_item(data: bytes, position: int) -> int:
    code = chr(data[position])
    if code in "SAFx":
        return position + 5 + int(_ULONG.unpack_from(data, position + 1)[0])
    try:
        return position + 1 + _SIZES[code]
    except KeyError:
        raise FrameSyntaxError(f"Unknown value in table: {code!r}") from None
