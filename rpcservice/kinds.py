"""What the value of a setting may be: in words, and as a check."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rpcservice.errors import ConfigError

AUTO = "auto"
MOST_WORKERS = 512


class Kind(NamedTuple):
    """What a key's value may be: in words, and as a check that gives the value to keep or raises ValueError."""

    allowed: str
    check: Callable[[Any], Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, value: Any) -> Any:
    if not holds:
        raise ValueError(value)
    return value


def optional(kind: Kind) -> Kind:
    """Give the kind of values that may be missing as well."""
    return Kind(f"{kind.allowed}, or null", lambda value: None if value is None else kind.check(value))


def integer(least: int, most: int | None = None) -> Kind:
    """Give the kind of whole numbers between two bounds."""
    return Kind(
        f"a whole number from {least} {'on' if most is None else f'to {most}'}",
        lambda value: _require(
            type(value) is int and value >= least and (most is None or value <= most),
            value,
        ),
    )


def seconds(allow_zero: bool = False) -> Kind:
    """Give the kind of durations, in seconds."""
    return Kind(
        "a number of seconds, 0 or more" if allow_zero else "a number of seconds above 0",
        lambda value: _require(_is_number(value) and (value > 0 or (allow_zero and value == 0)), value),
    )


def one_of(*choices: str) -> Kind:
    """Give the kind of one of some words."""
    return Kind(
        f"{', '.join(choices[:-1])} or {choices[-1]}",
        lambda value: _require(isinstance(value, str) and value in choices, value),
    )


def _check_workers(value: Any) -> int | str:
    _require(value == AUTO or (type(value) is int and 1 <= value <= MOST_WORKERS), value)
    return value  # type: ignore[no-any-return]  # one of the two


def _check_names(value: Any) -> tuple[str, ...]:
    _require(isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value), value)
    return tuple(value)


def _check_serializers(value: Any) -> Mapping[str, Any]:
    _require(isinstance(value, Mapping) and all(isinstance(name, str) for name in value), value)
    for description in value.values():
        _require(isinstance(description, Mapping) and set(description) <= _OF_A_SERIALIZER, value)
        _require("encoder" in description and "decoder" in description, value)
        _require(all(isinstance(item, str) and item for item in description.values()), value)
        _require("." in description["encoder"].strip(".") and "." in description["decoder"].strip("."), value)
    return dict(value)


def _check_uri(value: Any) -> str:
    _require(isinstance(value, str), value)
    for uri in value.split(";"):
        _require(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri) is not None, value)
        _require(urlsplit(uri).port != 0, value)  # a port that is no number raises ValueError by itself
    return str(value)


def _check_address(value: Any) -> str:
    _require(isinstance(value, str | int) and not isinstance(value, bool), value)
    try:
        parse_address(str(value))
    except ConfigError as exc:
        raise ValueError(value) from exc
    return str(value)


_STORE = re.compile(r"(sqlite|postgresql|redis|rediss|unix)(\+\w+)?://|memory:(//)?\Z")


def _check_store(value: Any) -> str:
    is_store = isinstance(value, str) and _STORE.match(value)
    _require(bool(is_store), value)
    return str(value)


def _check_databases(value: Any) -> Mapping[str, str]:
    _require(isinstance(value, Mapping) and all(isinstance(name, str) for name in value), value)
    _require(all(isinstance(url, str) and re.match(r"[\w+]+://", url) for url in value.values()), value)
    return dict(value)


TEXT = Kind("a text", lambda value: _require(isinstance(value, str) and bool(value), value))
PATH = Kind(
    "a path that begins with a slash",
    lambda value: _require(isinstance(value, str) and value.startswith("/"), value),
)
PLACE = Kind(
    "the dotted path of a module and a name in it",
    lambda value: _require(isinstance(value, str) and "." in value.strip("."), value),
)
BOOLEAN = Kind("true or false", lambda value: _require(isinstance(value, bool), value))
LOGIN = one_of("PLAIN", "AMQPLAIN", "EXTERNAL", "GSSAPI")
MAPPING = Kind("a mapping", lambda value: dict(_require(isinstance(value, Mapping), value)))
NAMES = Kind("a list of names", _check_names)
WORKERS = Kind(f"a whole number from 1 to {MOST_WORKERS}, or {AUTO} for one on each processor", _check_workers)
TLS = Kind(
    "true, false or a mapping with ca_certs, certfile, keyfile, cert_reqs ...",
    lambda value: _require(isinstance(value, bool | Mapping), value),
)
URI = Kind("a broker's URI such as amqp://user:password@host:5672/vhost or memory://", _check_uri)
ADDRESS = Kind("host:port or port, the port from 0 to 65535; an IPv6 host in brackets: [::1]:8000", _check_address)
_OF_A_SERIALIZER = frozenset(("encoder", "decoder", "content_type", "content_encoding"))
STORE = Kind(
    "sqlite:///path, postgresql+psycopg2://user:password@host/database, redis://host:6379/0 or memory://", _check_store
)
DATABASES = Kind(
    "a mapping from names to URLs of SQLAlchemy, such as postgresql+psycopg2://user:password@host/database",
    _check_databases,
)
SERIALIZERS = Kind(
    "a mapping from a name to a mapping with encoder and decoder, both dotted paths, and if need be content_type "
    "and content_encoding",
    _check_serializers,
)


def parse_address(text: str) -> tuple[str, int]:
    """Split ``[host:]port`` into host and port; IPv6 hosts stand in brackets.

    Args:
        text: Such as "8000", "0.0.0.0:8000" or "[::1]:0".

    Raises:
        ConfigError: It is no address.
    """
    host, _, port = str(text).rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        port = ""
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{text!r} is no address; give {ADDRESS.allowed}")
    return host or "0.0.0.0", int(port)
