"""Sets logging up as the configuration says: lines to read, JSON lines, or the user's own dictConfig."""

import logging
import logging.config
from typing import TYPE_CHECKING

from rpcservice.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from rpcservice.config import Settings


class ReadableFormatter(logging.Formatter):
    """One line a record; lines of a worker name their call."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s%(call)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Add the call, where there is one."""
        call_id = getattr(record, "call_id", "-")
        record.call = "" if call_id == "-" else f" [{call_id}]"
        return super().format(record)


def _json_formatter() -> logging.Formatter:
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError as exc:
        raise MissingExtra('log_format: json needs a package; run: pip install "rpcservice[logging]"') from exc
    formatter: logging.Formatter = JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s %(service)s %(method)s %(call_id)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
    )
    return formatter


def set_up(settings: "Settings") -> None:
    """Set logging up.

    Raises:
        MissingExtra: ``log_format: json`` without the package for it.
        ConfigError: ``LOGGING`` is no configuration for ``logging.config.dictConfig``.
    """
    from rpcservice.core.logs import WorkerFilter

    if settings.logging is not None:
        try:
            logging.config.dictConfig(dict(settings.logging))
        except (ValueError, TypeError, AttributeError, ImportError) as exc:
            raise ConfigError(f"LOGGING is no configuration for logging.config.dictConfig: {exc}") from exc
        for handler in logging.getLogger().handlers:
            handler.addFilter(WorkerFilter())
        return
    handler = logging.StreamHandler()
    handler.addFilter(WorkerFilter())
    handler.setFormatter(_json_formatter() if settings.log_format == "json" else ReadableFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
