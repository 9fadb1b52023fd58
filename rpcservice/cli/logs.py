"""Sets logging up for a command: lines to read, JSON lines, or what ``LOGGING`` says."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rpcservice.cli.escapes import printable
from rpcservice.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from rpcservice.config import Settings

ACCESS_LOG = "rpcservice.web.access"
"""The logger that has a line for each HTTP request, at level INFO."""
_WORKER = ("service", "method", "call_id", "worker")


class LineFormatter(logging.Formatter):
    """Lines to read; those of a worker name its call, and those of one of several processes its number.

    Control characters are escaped, for much that is logged comes from others: routing keys, errors, paths.

    Args:
        number: The number of this process; None where it is the only one.
    """

    def __init__(self, number: str | None = None) -> None:
        place = "" if number is None else f"[worker {number}] "
        super().__init__(f"%(asctime)s %(levelname)-7s {place}%(name)s: %(call)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, and below it the traceback, if there is one."""
        call_id = getattr(record, "call_id", "-")
        record.call = "" if call_id == "-" else f"[{call_id}] "
        return printable(super().format(record), has_lines=True)


def json_formatter() -> logging.Formatter:
    """Give a formatter that makes one JSON object of each record.

    Raises:
        MissingExtra: python-json-logger is not installed.
    """
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError as exc:
        raise MissingExtra(
            "log_format: json needs python-json-logger; install it with: pip install 'rpcservice[logging]'"
        ) from exc
    formatter: logging.Formatter = JsonFormatter(
        ["levelname", "name", "message", *_WORKER],
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
    )
    return formatter


def set_up(settings: "Settings", *, level: int = logging.INFO) -> None:
    """Set logging up for the whole process.

    Args:
        settings: ``LOGGING`` wins over ``log_format``.
        level: From which level on records are written; ``LOGGING`` has its own.

    Raises:
        ConfigError: ``LOGGING`` is no configuration.
        MissingExtra: JSON lines are asked for, and python-json-logger is not installed.
    """
    if settings.logging is not None:
        _configure(settings.logging)
    else:
        from rpcservice.core.process import NUMBER_VARIABLE

        handler = logging.StreamHandler()
        is_json = settings.log_format == "json"
        handler.setFormatter(json_formatter() if is_json else LineFormatter(os.environ.get(NUMBER_VARIABLE)))
        logging.basicConfig(level=level, handlers=[handler], force=True)
        # A line for each request costs more than many a request; who wants them says so, by LOGGING or --debug.
        logging.getLogger(ACCESS_LOG).setLevel(level if level <= logging.DEBUG else logging.WARNING)
    _name_calls()


def _configure(description: Any) -> None:
    import logging.config

    # Loggers of what is imported already are kept unless LOGGING says otherwise: they are ours.
    try:
        logging.config.dictConfig({"disable_existing_loggers": False, **description})
    except (ValueError, TypeError, AttributeError, ImportError) as exc:
        cause = f": {exc.__cause__}" if exc.__cause__ is not None else ""
        raise ConfigError(f"LOGGING is no configuration for logging.config.dictConfig: {exc}{cause}") from exc


def _name_calls() -> None:
    """Have every handler give its records service, method and call id."""
    from rpcservice.core.logs import WorkerFilter

    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.Logger.manager.loggerDict))]
    for handler in {handler: None for logger in loggers for handler in logger.handlers}:
        if not any(isinstance(known, WorkerFilter) for known in handler.filters):
            # First, so that the configuration's own filters may use what it adds.
            handler.filters.insert(0, WorkerFilter())


class _Holding(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back what is logged meanwhile, until the block has set logging up."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [holding := _Holding()]
    try:
        yield
    finally:
        if holding in root.handlers:
            root.handlers = handlers
        for record in holding.records:
            logging.getLogger(record.name).handle(record)
