"""Settings: read once from YAML or a mapping, checked key by key, frozen."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rpcservice import envvars
from rpcservice.errors import ConfigError
from rpcservice.kinds import (
    ADDRESS,
    BOOLEAN,
    DATABASES,
    LOGIN,
    MAPPING,
    NAMES,
    PATH,
    PLACE,
    SERIALIZERS,
    STORE,
    TEXT,
    TLS,
    URI,
    WORKERS,
    Kind,
    integer,
    one_of,
    optional,
    seconds,
)

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
    seconds, sizes in bytes. Its ``repr`` leaves out what may hold passwords.
    """

    amqp_uri: str = field(default=DEFAULT_AMQP_URI, repr=False)
    amqp_ssl: bool | Mapping[str, Any] | None = None
    login_method: str | None = None
    heartbeat: float = 60
    transport_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    prefetch_count: int | None = None
    link: str = "frames"
    publish_connection: str = "shared"
    rpc_exchange: str = "nameko-rpc"
    auto_delete_event_exchanges: bool = False
    declare_event_exchanges: bool = True
    queue_type: str = "classic"
    delivery_limit: int = 20
    consumer_timeout: float | None = 1800
    serializer: str = "json"
    accept: tuple[str, ...] = ()
    serializers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fast_json: bool | None = None
    service_container_cls: str | None = None
    max_workers: int = 10
    parent_calls_tracked: int = 10
    rpc_timeout: float | None = 60
    clock_skew: float = 2
    publish_timeout: float = 30
    publish_buffer: int = 10_000
    max_message_size: int = 16 * MEBIBYTE
    send_traceback: bool = False
    startup_timeout: float | None = 60
    shutdown_timeout: float = 30
    sql_databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    idempotency_store: str | None = field(default=None, repr=False)
    idempotency_ttl: float = 7 * 86_400
    idempotency_lease: float = 10
    idempotency_max_result: int = MEBIBYTE
    blocked_loop_warning: float = 1
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
    workers: int | str | None = None
    log_format: str = "text"
    logging: Mapping[str, Any] | None = None
    services: tuple[str, ...] = ()
    strict_config: bool = False
    raw: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)


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


KEYS: tuple[Key, ...] = (
    Key("AMQP_URI", URI, "The broker; several, separated by semicolons, are tried in turn."),
    Key("AMQP_SSL", optional(TLS), "TLS to the broker, whose certificate is verified unless cert_reqs says none."),
    Key("LOGIN_METHOD", optional(LOGIN), "The SASL mechanism: PLAIN (null), AMQPLAIN, EXTERNAL or GSSAPI."),
    Key("HEARTBEAT", seconds(allow_zero=True), "From one heartbeat to the next; a dead broker is found within two."),
    Key("TRANSPORT_OPTIONS", MAPPING, "Options of kombu's transports, for link: channel."),
    Key("PREFETCH_COUNT", optional(integer(0, 65535)), "Unacknowledged messages a consumer; null follows max_workers."),
    Key("link", one_of("frames", "channel"), "How the broker is reached: by our own frames, or by kombu's channels."),
    Key("publish_connection", one_of("shared", "dedicated"), "Whether publishing has a connection of its own."),
    Key("rpc_exchange", TEXT, "The exchange for requests and replies."),
    Key("AUTO_DELETE_EVENT_EXCHANGES", BOOLEAN, "Event exchanges go with their last queue."),
    Key("DECLARE_EVENT_EXCHANGES", BOOLEAN, "Declare event exchanges; false leaves that to somebody else."),
    Key("queue_type", one_of("classic", "quorum"), "Of queues that services share; quorum only where none exist."),
    Key("delivery_limit", integer(1), "Deliveries of a message by a quorum queue before it is with the dead letters."),
    Key("consumer_timeout", optional(seconds()), "RabbitMQ's own; before it ends comes a warning; null: none."),
    Key("serializer", TEXT, "What messages are encoded with: json, pickle, yaml, msgpack, or one of SERIALIZERS."),
    Key("ACCEPT", NAMES, "Serializers accepted from others; empty accepts the one that is used for sending."),
    Key("SERIALIZERS", SERIALIZERS, "Serializers of one's own."),
    Key("fast_json", optional(BOOLEAN), "Use orjson and msgspec for json; null uses them where they are installed."),
    Key("SERVICE_CONTAINER_CLS", optional(PLACE), "A subclass of ServiceContainer that hosts the services."),
    Key("max_workers", integer(1), "Calls that one service carries out at a time."),
    Key("parent_calls_tracked", integer(0), "Length of the call stack that travels with a call."),
    Key("rpc_timeout", optional(seconds()), "How long an RPC call may take; null waits for ever."),
    Key(
        "clock_skew", seconds(allow_zero=True), "By how much the clocks of hosts may differ; a request may be so late."
    ),
    Key("publish_timeout", seconds(), "How long an event waits for the broker's confirm."),
    Key("publish_buffer", integer(1), "Messages that may wait for a confirm, or for the broker to come back."),
    Key("max_message_size", integer(1), "The largest body of a message, in bytes."),
    Key("send_traceback", BOOLEAN, "Send the traceback of an error to the RPC caller."),
    Key("startup_timeout", optional(seconds()), "How long the start waits for the broker; null waits for ever."),
    Key("shutdown_timeout", seconds(allow_zero=True), "How long running calls may take to finish at a stop."),
    Key("sql_databases", DATABASES, "The databases of Database providers by name, as URLs of SQLAlchemy."),
    Key(
        "idempotency_store",
        optional(STORE),
        "Where outcomes of idempotent calls are kept: sqlite:///path, postgresql+psycopg2://..., redis://..., memory://.",
    ),
    Key("idempotency_ttl", seconds(), "How long these outcomes are kept."),
    Key(
        "idempotency_lease", seconds(), "How long after the death of a process another one takes its idempotent calls."
    ),
    Key("idempotency_max_result", integer(0), "The largest result of an idempotent call, in bytes."),
    Key(
        "blocked_loop_warning",
        seconds(allow_zero=True),
        "How long code may block the rest before its stack is logged; 0: never.",
    ),
    Key("WEB_SERVER_ADDRESS", ADDRESS, "Where HTTP is served; port 0 takes a free one."),
    Key("health_address", optional(ADDRESS), "Where GET /health is served by a process without web entrypoints."),
    Key("http_max_header_size", integer(256), "The largest header of an HTTP request, in bytes."),
    Key("http_max_body_size", integer(0), "The largest body of an HTTP request, in bytes."),
    Key("http_header_timeout", seconds(), "How long the whole header of a request may take."),
    Key("http_body_timeout", seconds(), "How long the whole body of a request may take."),
    Key("http_max_connections", integer(1), "HTTP connections at a time."),
    Key("http_keep_alive", seconds(allow_zero=True), "How long an idle HTTP connection is kept; 0 keeps none."),
    Key("http_queue_timeout", seconds(allow_zero=True), "How long a request waits for a worker before it gets 503."),
    Key("websocket_path", PATH, "Where websockets are opened."),
    Key(
        "websocket_origins",
        NAMES,
        "Origins of other pages that may open websockets, such as https://shop.example; * is any.",
    ),
    Key(
        "websocket_ping_interval",
        seconds(allow_zero=True),
        "A websocket that is silent for so long is pinged, and closed after twice as long; 0 pings none.",
    ),
    Key("websocket_max_message_size", integer(1), "The largest message of a websocket's client, in bytes."),
    Key("websocket_send_buffer", integer(1), "What may wait for a slow websocket before it is closed, in bytes."),
    Key("websocket_compression", BOOLEAN, "Compress messages to and from websockets that can do so."),
    Key(
        "websocket_broadcast",
        one_of("auto", "broker", "process"),
        "Who gets a broadcast: websockets of all processes on the broker, or of this one; auto goes by AMQP_URI.",
    ),
    Key(
        "workers",
        optional(WORKERS),
        "Processes of `rpcservice run`, below a supervisor that starts them again; null runs all in one, without.",
    ),
    Key("log_format", one_of("text", "json"), "Log lines to read, or one JSON object a line."),
    Key("LOGGING", optional(MAPPING), "A configuration for logging.config.dictConfig, instead of log_format."),
    Key("services", NAMES, "What `rpcservice run` starts when it is given nothing: modules or files."),
    Key("strict_config", BOOLEAN, "A key that looks like a slip of a known one keeps the services from starting."),
)
"""Every key, in the order in which the documentation lists them. All other keys are free for services."""

_PASSWORD = re.compile(r"\A((?:[^:@]*://)?[^:@]*):(?!//).*@", re.DOTALL)
_SECRET_VALUE = re.compile(r"([?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&;]*", re.IGNORECASE)
_NEXT_URI = re.compile(r";(?=[^;@]*://)")
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
            raise ConfigError(f"{place}: {name} is {_shown(value)}; give {key.kind.allowed}") from None
    _look_for_slips(config, source, sources, is_strict=bool(values.get("strict_config")))
    settings = Settings(**values, raw=MappingProxyType(dict(config)))
    _check_schemes(settings, sources.get("AMQP_URI", source))
    return settings


def _shown(value: Any) -> str:
    text = hide_password(repr(value))
    return text if len(text) <= 200 else f"{text[:200]}..."


def hide_password(uri: str) -> str:
    """Give a broker's URI, or several that semicolons separate, for people to read; rather hidden too much."""
    return ";".join(_SECRET_VALUE.sub(r"\1***", _PASSWORD.sub(r"\1:***@", one)) for one in _NEXT_URI.split(uri))


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
    for name in config:
        if name in _KEY_BY_NAME or not isinstance(name, str):
            continue
        meant = likely_key(name, LIKENESS)
        if meant is None:
            continue
        message = f"{sources.get(name, source)}: {name} is no known key; is {meant} meant?"
        if is_strict:
            raise ConfigError(f"{message} Correct it, rename it, or set strict_config: false")
        _log.warning("%s", message)


def likely_key(name: str, likeness: float) -> str | None:
    """Give the key that an unknown one is a slip of, if it is that much like any; 1 is the same."""
    by_lower = {key.name.lower(): key.name for key in KEYS}
    meant = get_close_matches(name.lower().replace("-", "_"), by_lower, n=1, cutoff=likeness)
    return by_lower[meant[0]] if meant else None


def check_own_keys(config: Mapping[str, Any], source: str) -> None:
    """Refuse keys that are none of ours, where no others belong.

    Raises:
        ConfigError: There is one.
    """
    for name in config:
        if name not in _KEY_BY_NAME:
            meant = likely_key(str(name), 0.6)
            mend = f"is {meant} meant?" if meant else "keys of services belong outside of it"
            raise ConfigError(f"{source}: {name} is no key of rpcservice; {mend}")


def read_config(path: str | Path | None, defines: Sequence[tuple[str, object]] = ()) -> dict[str, Any]:
    """Read a configuration file, values unchecked; arguments and errors are those of :func:`load_config`."""
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
