"""JSON by orjson and msgspec where they do as the standard library does; it does the rest, and says what is wrong.

Each is used for one direction. orjson writes, for it refuses what JSON does not have, but for what :func:`make_dumps`
keeps from it. msgspec reads, for whole numbers of any size stay what they are, which orjson makes floats of.
"""

import marshal
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]

_MARSHAL_VERSION = 4
"""Of :mod:`marshal`'s format; the first in which a text that is met again costs nothing."""
# Of that format, each by itself, for one that begins with a certain byte is found several times faster: a float whose
# exponent has no bit clear, which is NaN or infinity, by its type and by that with the mark of what may be referred to;
# and with that mark the bytes that a member of an enumeration is besides.
_ODD = tuple(
    re.compile(pattern, re.DOTALL).search
    for pattern in (rb"g.{6}[\xf0-\xff][\x7f\xff]", rb"\xe7.{6}[\xf0-\xff][\x7f\xff]", rb"\xf3.{3}\x00")
)
_UNDERSCORE = ord("_")
_BEYOND_64_BITS = 2**64 + 1


def quicken(dumps: Dumps, loads: Loads) -> tuple[Dumps, Loads]:
    """Give functions that do what these two do, and are faster.

    Args:
        dumps: Encodes a value as JSON.
        loads: Decodes it.

    Raises:
        ImportError: orjson or msgspec is not there, or too old to be trusted.
    """
    orjson, msgspec = import_module("orjson"), import_module("msgspec")
    decode = msgspec.json.Decoder().decode
    if decode(str(_BEYOND_64_BITS).encode()) != _BEYOND_64_BITS:
        raise ImportError("this msgspec reads large numbers as floats")
    return make_dumps(orjson, dumps), make_loads(decode, loads)


def make_dumps(orjson: Any, dumps: Dumps) -> Dumps:
    """Give what encodes by orjson, and by ``dumps`` what orjson refuses or would write as something else.

    orjson writes NaN and infinity as null, and enumerations, UUIDs and subclasses of what JSON has without asking. All
    of these are told by marshal, which takes nothing but plain types and is several times faster than encoding.
    """
    encode = orjson.dumps
    options = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
    to_marshal, version = marshal.dumps, _MARSHAL_VERSION

    def fast_dumps(value: Any) -> bytes:
        try:
            plain = to_marshal(value, version)
            # The look at single bytes passes nearly all values; large floats and numbers such as 255 have them too.
            may_be_odd = 127 in plain or 255 in plain or 243 in plain
            if not may_be_odd or not any(is_odd(plain) for is_odd in _ODD):
                encoded: bytes = encode(value, None, options)
                return encoded
        except Exception:
            pass  # the other encoder takes it, or says what is wrong
        return dumps(value)

    return fast_dumps


def make_loads(decode: Loads, loads: Loads) -> Loads:
    """Give what decodes by msgspec, and by ``loads`` what kombu has typed and what msgspec refuses, such as NaN."""

    def fast_loads(body: bytes) -> Any:
        # A single byte is found several times faster, and large texts often have none.
        if _UNDERSCORE not in body or b"__type__" not in body:
            try:
                return decode(body)
            except Exception:
                pass  # the other decoder takes it, or says what is wrong
        return loads(body)

    return fast_loads
