"""Settings: read once, checked, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

DEFAULT_AMQP_URI = "pyamqp://guest:guest@localhost"


@dataclass(frozen=True)
class Settings:
    """Every setting that rpcservice knows, checked; and the whole configuration as it was given.

    Fields are named as their keys, nameko's in lower case. Times are in seconds, sizes in bytes.
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
    max_workers: int = 10
    parent_calls_tracked: int = 10
    rpc_timeout: float | None = 60
    publish_timeout: float = 30
    publish_buffer: int = 10_000
    max_message_size: int = 16 * 1024 * 1024
    send_traceback: bool = False
    startup_timeout: float | None = 60
    shutdown_timeout: float = 30
    web_server_address: str = "0.0.0.0:8000"
    health_address: str | None = None
    http_max_header_size: int = 32 * 1024
    http_max_body_size: int = 16 * 1024 * 1024
    http_header_timeout: float = 10
    http_body_timeout: float = 60
    http_max_connections: int = 1000
    http_keep_alive: float = 30
    http_queue_timeout: float = 10
    log_format: str = "text"
    logging: Mapping[str, Any] | None = None
    services: tuple[str, ...] = ()
    strict_config: bool = False
    raw: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def make_settings(config: "Mapping[str, Any] | Settings", source: str = "configuration") -> Settings:
    """Give the settings that a mapping with nameko's keys describes."""
    if isinstance(config, Settings):
        return config
    known = {item.name for item in fields(Settings)}
    values = {key.lower(): value for key, value in config.items() if key.lower() in known}
    for name in ("accept", "services"):
        if name in values:
            values[name] = tuple(values[name])
    return Settings(**values, raw=MappingProxyType(dict(config)))


def parse_address(text: str) -> tuple[str, int]:
    """Split ``[host:]port``."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)
