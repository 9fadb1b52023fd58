"""Settings: read once from YAML or a mapping, checked key by key, frozen."""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rpcservice import envvars
from rpcservice.errors import ConfigError

DEFAULT_AMQP_URI = "pyamqp://guest:guest@localhost"
MEBIBYTE = 1024 * 1024
LIKENESS = 0.85
"""How alike an unknown key must be to a known one to be taken for a slip; 1 is the same."""
COMMAND_LINE = "command line"
OWN_SCHEMES = ("amqp", "amqps", "pyamqp", "memory")
"""What ``AMQP_URI`` may begin with, unless ``link: channel`` brings in kombu's other transports."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Every setting that rpcservice knows, checked; and the whole configuration as it was given.

    Fields are named as their keys, nameko's in lower case; :data:`KEYS` says what each means. Times are in
    seconds, sizes in bytes.
    """

    amqp_uri: str = DEFAULT_AMQP_URI
    amqp_ssl: bool | Mapping[str, Any] | None = None
    login_method: str | None = None
    heartbeat: float = 60
    transport_options: Mapping[str, Any] = field(default_factory=dict)
    prefetch_count: int | None = None
    link: str = "frames"
    publish_connection: str = "shared"
    rpc_exchange: str = "nameko-rpc"
    auto_delete_event_exchanges: bool = False
    declare_event_exchanges: bool = True
    serializer: str = "json"
    accept: tuple[str, ...] = ()
    serializers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    service_container_cls: str | None = None
    max_workers: int = 10
    parent_calls_tracked: int = 10
    rpc_timeout: float | None = 60
    publish_timeout: float = 30
    publish_buffer: int = 10_000
    max_message_size: int = 16 * MEBIBYTE
    send_traceback: bool = False
    startup_timeout: float | None = 60
    shutdown_timeout: float = 30
    web_server_address: str = "0.0.0.0:8000"
    health_address: str | None = None
    http_max_header_size: int = 32 * 1024
    http_max_body_size: int = 16 * MEBIBYTE
    http_header_timeout: float = 10
    http_body_timeout: float = 60
    http_max_connections: int = 1000
    http_keep_alive: float = 30
    http_queue_timeout: float = 10
    websocket_path: str = "/ws"
    websocket_origins: tuple[str, ...] = ()
    websocket_ping_interval: float = 20
    websocket_max_message_size: int = 8 * MEBIBYTE
    websocket_send_buffer: int = MEBIBYTE
    websocket_compression: bool = True
    websocket_broadcast: str = "auto"
    log_format: str = "text"
    logging: Mapping[str, Any] | None = None
    services: tuple[str, ...] = ()
    strict_config: bool = False
    raw: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Kind(NamedTuple):
    """What a key's value may be: in words, and as a check that gives the value to keep or raises ValueError."""

    allowed: str
    check: Callable[[Any], Any]


class Key(NamedTuple):
    """One key of the configuration."""

    name: str
    kind: Kind
    meaning: str

    @property
    def attribute(self) -> str:
        """The name of its field in :class:`Settings`."""
        return self.name.lower()

    @property
    def default(self) -> Any:
        """What holds where the key is not given."""
        return getattr(Settings(), self.attribute)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, value: Any) -> Any:
    if not holds:
        raise ValueError(value)
    return value


def _optional(kind: Kind) -> Kind:
    return Kind(f"{kind.allowed}, or null", lambda value: None if value is None else kind.check(value))


def _integer(least: int, most: int | None = None) -> Kind:
    return Kind(
        f"a whole number from {least} {'on' if most is None else f'to {most}'}",
        lambda value: _require(
            type(value) is int and value >= least and (most is None or value <= most),
            value,
        ),
    )


def _seconds(allow_zero: bool = False) -> Kind:
    return Kind(
        "a number of seconds, 0 or more" if allow_zero else "a number of seconds above 0",
        lambda value: _require(_is_number(value) and (value > 0 or (allow_zero and value == 0)), value),
    )


def _one_of(*choices: str) -> Kind:
    return Kind(
        f"{', '.join(choices[:-1])} or {choices[-1]}",
        lambda value: _require(isinstance(value, str) and value in choices, value),
    )


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


_TEXT = Kind("a text", lambda value: _require(isinstance(value, str) and bool(value), value))
_PATH = Kind(
    "a path that begins with a slash",
    lambda value: _require(isinstance(value, str) and value.startswith("/"), value),
)
_PLACE = Kind(
    "the dotted path of a module and a name in it",
    lambda value: _require(isinstance(value, str) and "." in value.strip("."), value),
)
_BOOLEAN = Kind("true or false", lambda value: _require(isinstance(value, bool), value))
_LOGIN = _one_of("PLAIN", "AMQPLAIN", "EXTERNAL", "GSSAPI")
_MAPPING = Kind("a mapping", lambda value: dict(_require(isinstance(value, Mapping), value)))
_NAMES = Kind("a list of names", _check_names)
_TLS = Kind(
    "true, false or a mapping with ca_certs, certfile, keyfile, cert_reqs ...",
    lambda value: _require(isinstance(value, bool | Mapping), value),
)
_URI = Kind("a broker's URI such as amqp://user:password@host:5672/vhost or memory://", _check_uri)
_ADDRESS = Kind("host:port or port, the port from 0 to 65535; an IPv6 host in brackets: [::1]:8000", _check_address)
_OF_A_SERIALIZER = frozenset(("encoder", "decoder", "content_type", "content_encoding"))
_SERIALIZERS = Kind(
    "a mapping from a name to a mapping with encoder and decoder, both dotted paths, and if need be content_type "
    "and content_encoding",
    _check_serializers,
)

KEYS: tuple[Key, ...] = (
    Key("AMQP_URI", _URI, "The broker; several, separated by semicolons, are tried in turn."),
    Key("AMQP_SSL", _optional(_TLS), "TLS to the broker, whose certificate is verified unless cert_reqs says none."),
    Key("LOGIN_METHOD", _optional(_LOGIN), "The SASL mechanism: PLAIN (null), AMQPLAIN, EXTERNAL or GSSAPI."),
    Key("HEARTBEAT", _seconds(allow_zero=True), "From one heartbeat to the next; a dead broker is found within two."),
    Key("TRANSPORT_OPTIONS", _MAPPING, "Options of kombu's transports, for link: channel."),
    Key(
        "PREFETCH_COUNT", _optional(_integer(0, 65535)), "Unacknowledged messages a consumer; null follows max_workers."
    ),
    Key("link", _one_of("frames", "channel"), "How the broker is reached: by our own frames, or by kombu's channels."),
    Key("publish_connection", _one_of("shared", "dedicated"), "Whether publishing has a connection of its own."),
    Key("rpc_exchange", _TEXT, "The exchange for requests and replies."),
    Key("AUTO_DELETE_EVENT_EXCHANGES", _BOOLEAN, "Event exchanges go with their last queue."),
    Key("DECLARE_EVENT_EXCHANGES", _BOOLEAN, "Declare event exchanges; false leaves that to somebody else."),
    Key("serializer", _TEXT, "What messages are encoded with: json, pickle, yaml, msgpack, or one of SERIALIZERS."),
    Key("ACCEPT", _NAMES, "Serializers accepted from others; empty accepts the one that is used for sending."),
    Key("SERIALIZERS", _SERIALIZERS, "Serializers of one's own."),
    Key("SERVICE_CONTAINER_CLS", _optional(_PLACE), "A subclass of ServiceContainer that hosts the services."),
    Key("max_workers", _integer(1), "Calls that one service carries out at a time."),
    Key("parent_calls_tracked", _integer(0), "Length of the call stack that travels with a call."),
    Key("rpc_timeout", _optional(_seconds()), "How long an RPC call may take; null waits for ever."),
    Key("publish_timeout", _seconds(), "How long an event waits for the broker's confirm."),
    Key("publish_buffer", _integer(1), "Messages that may wait for a confirm, or for the broker to come back."),
    Key("max_message_size", _integer(1), "The largest body of a message, in bytes."),
    Key("send_traceback", _BOOLEAN, "Send the traceback of an error to the RPC caller."),
    Key("startup_timeout", _optional(_seconds()), "How long the start waits for the broker; null waits for ever."),
    Key("shutdown_timeout", _seconds(allow_zero=True), "How long running calls may take to finish at a stop."),
    Key("WEB_SERVER_ADDRESS", _ADDRESS, "Where HTTP is served; port 0 takes a free one."),
    Key("health_address", _optional(_ADDRESS), "Where GET /health is served by a process without web entrypoints."),
    Key("http_max_header_size", _integer(256), "The largest header of an HTTP request, in bytes."),
    Key("http_max_body_size", _integer(0), "The largest body of an HTTP request, in bytes."),
    Key("http_header_timeout", _seconds(), "How long the whole header of a request may take."),
    Key("http_body_timeout", _seconds(), "How long the whole body of a request may take."),
    Key("http_max_connections", _integer(1), "HTTP connections at a time."),
    Key("http_keep_alive", _seconds(allow_zero=True), "How long an idle HTTP connection is kept; 0 keeps none."),
    Key("http_queue_timeout", _seconds(allow_zero=True), "How long a request waits for a worker before it gets 503."),
    Key("websocket_path", _PATH, "Where websockets are opened."),
    Key(
        "websocket_origins",
        _NAMES,
        "Origins of other pages that may open websockets, such as https://shop.example; * is any.",
    ),
    Key(
        "websocket_ping_interval",
        _seconds(allow_zero=True),
        "A websocket that is silent for so long is pinged, and closed after twice as long; 0 pings none.",
    ),
    Key("websocket_max_message_size", _integer(1), "The largest message of a websocket's client, in bytes."),
    Key("websocket_send_buffer", _integer(1), "What may wait for a slow websocket before it is closed, in bytes."),
    Key("websocket_compression", _BOOLEAN, "Compress messages to and from websockets that can do so."),
    Key(
        "websocket_broadcast",
        _one_of("auto", "broker", "process"),
        "Who gets a broadcast: websockets of all processes on the broker, or of this one; auto goes by AMQP_URI.",
    ),
    Key("log_format", _one_of("text", "json"), "Log lines to read, or one JSON object a line."),
    Key("LOGGING", _optional(_MAPPING), "A configuration for logging.config.dictConfig, instead of log_format."),
    Key("services", _NAMES, "What `rpcservice run` starts when it is given nothing: modules or files."),
    Key("strict_config", _BOOLEAN, "A key that looks like a slip of a known one keeps the services from starting."),
)
"""Every key, in the order in which the documentation lists them. All other keys are free for services."""

_KEY_BY_NAME = {key.name: key for key in KEYS}
_NULL_MEANS_DEFAULT = frozenset(
    ("AMQP_URI", "AUTO_DELETE_EVENT_EXCHANGES", "TRANSPORT_OPTIONS", "ACCEPT", "SERIALIZERS", "services")
)


def make_settings(config: Mapping[str, Any] | Settings, source: str = "configuration") -> Settings:
    """Check a configuration and give its settings.

    Args:
        config: A mapping with nameko's keys and ours; Settings are given back as they are.
        source: Where it came from, for messages.

    Raises:
        ConfigError: A value is wrong, or with ``strict_config`` a key looks like a slip.
    """
    if isinstance(config, Settings):
        return config
    if not isinstance(config, Mapping):
        raise ConfigError(f"{source}: is {config!r}; give a mapping from keys to values, or Settings")
    return _settings_from(config, source, {})


def _settings_from(config: Mapping[str, Any], source: str, sources: Mapping[str, str]) -> Settings:
    """Check a configuration, some keys of which come from elsewhere than the rest."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        key = _KEY_BY_NAME.get(name)
        if key is None or (value is None and name in _NULL_MEANS_DEFAULT):
            continue
        try:
            values[key.attribute] = key.kind.check(value)
        except (ValueError, TypeError):
            place = sources.get(name, source)
            raise ConfigError(f"{place}: {name} is {_shown(name, value)}; give {key.kind.allowed}") from None
    _look_for_slips(config, source, sources, is_strict=bool(values.get("strict_config")))
    settings = Settings(**values, raw=MappingProxyType(dict(config)))
    _check_schemes(settings, sources.get("AMQP_URI", source))
    return settings


def _shown(name: str, value: Any) -> str:
    text = hide_password(repr(value)) if name == "AMQP_URI" else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def hide_password(uri: str) -> str:
    """Give a broker's URI, or several that semicolons separate, for people to read."""
    return ";".join(re.sub(r"((?:://|^)[^:@/]*):(?!//).*@", r"\1:***@", one) for one in uri.split(";"))


def _check_schemes(settings: Settings, source: str) -> None:
    uris = settings.amqp_uri.split(";")
    schemes = [uri.partition("://")[0] for uri in uris]
    if "memory" in schemes and len(uris) > 1:
        raise ConfigError(
            f"{source}: AMQP_URI names memory:// beside others; give it alone, for it is no broker to share"
        )
    for scheme in schemes:
        if settings.link == "frames" and scheme not in OWN_SCHEMES:
            raise ConfigError(
                f"{source}: AMQP_URI begins with {scheme}://; give one of {', '.join(OWN_SCHEMES)}, "
                "or set link: channel for another of kombu's transports"
            )


def _look_for_slips(config: Mapping[str, Any], source: str, sources: Mapping[str, str], *, is_strict: bool) -> None:
    by_lower = {key.name.lower(): key.name for key in KEYS}
    for name in config:
        if name in _KEY_BY_NAME or not isinstance(name, str):
            continue
        meant = get_close_matches(name.lower().replace("-", "_"), by_lower, n=1, cutoff=LIKENESS)
        if not meant:
            continue
        message = f"{sources.get(name, source)}: {name} is no known key; is {by_lower[meant[0]]} meant?"
        if is_strict:
            raise ConfigError(f"{message} Correct it, rename it, or set strict_config: false")
        _log.warning("%s", message)


def read_config(path: str | Path | None, defines: Sequence[tuple[str, object]] = ()) -> dict[str, Any]:
    """Read a configuration file, and leave its values unchecked; arguments and errors are those of :func:`load_config`."""
    values = dict(_read(Path(path))) if path is not None else {}
    services = values.get("services")
    if path is not None and isinstance(services, list):
        folder = Path(path).parent
        values["services"] = [_relative_to(folder, service) for service in services]
    values.update(defines)
    return values


def load_config(path: str | Path | None, defines: Sequence[tuple[str, object]] = ()) -> Settings:
    """Read a configuration file and check it.

    Args:
        path: The YAML file; None for none. Files named under ``services`` are relative to its folder.
        defines: Keys and values that win over the file's, as given on the command line.

    Raises:
        ConfigError: The file cannot be read, is no YAML mapping, or holds a wrong value.
    """
    values = read_config(path, defines)
    source = str(path) if path is not None else "configuration"
    return _settings_from(values, source, dict.fromkeys((name for name, _ in defines), COMMAND_LINE))


def _relative_to(folder: Path, service: object) -> object:
    """Give a service file's path as seen from here; modules stay as they are."""
    if isinstance(service, str) and is_service_file(service):
        return str(folder / service)
    return service


def is_service_file(target: str) -> bool:
    """Say whether a service is named by a file, ``path/to/file.py[:CLASS]``, and not by a module."""
    return target.endswith(".py") or ".py:" in target


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    loaded = envvars.load(text, source=str(path))
    if loaded is None:
        return {}
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"{path}: holds a {type(loaded).__name__}; give a mapping from keys to values")
    return loaded


def import_named(path: str, key: str) -> Any:
    """Give the object that a setting names by its dotted path.

    Args:
        path: Module and name, such as "shop.serializers.encode".
        key: The setting, for the message.

    Raises:
        ConfigError: It cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigError(f"{key} is {path!r}, which cannot be imported: {exc}") from exc


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
        raise ConfigError(f"{text!r} is no address; give {_ADDRESS.allowed}")
    return host or "0.0.0.0", int(port)
