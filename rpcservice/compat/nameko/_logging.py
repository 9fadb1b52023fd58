"""Has what rpcservice logs come to handlers and levels that were configured for nameko's loggers."""

import logging

_HOMES = {
    "rpcservice": "nameko",
    "rpcservice.amqp.connection": "nameko.messaging",
    "rpcservice.compat.nameko.containers": "nameko.containers",
    "rpcservice.core.container": "nameko.containers",
    "rpcservice.core.lifecycle": "nameko.containers",
    "rpcservice.core.pool": "nameko.containers",
    "rpcservice.core.runner": "nameko.runners",
    "rpcservice.core.worker": "nameko.containers",
    "rpcservice.web.access": "nameko.web.server",
    "rpcservice.web.server": "nameko.web.server",
}


def connect() -> None:
    """Put nameko's loggers above ours; records keep the names of our loggers."""
    for ours, theirs in _HOMES.items():
        _put_below(ours, theirs)


def disconnect() -> None:
    """Put our loggers back below each other."""
    for ours in _HOMES:
        _put_below(ours, "rpcservice" if ours != "rpcservice" else None)


def _put_below(name: str, parent: str | None) -> None:
    logger = logging.getLogger(name)
    logger.parent = logging.getLogger(parent)
    # Loggers remember which levels they pass on; this makes them forget.
    logger.setLevel(logger.level)
