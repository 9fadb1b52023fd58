"""Has what rpcservice logs come to handlers and levels that were configured for nameko's loggers, in nameko's words."""

import logging
from collections.abc import Mapping

_HOMES = {
    "rpcservice": "nameko",
    "rpcservice.amqp.connection": "nameko.messaging",
    "rpcservice.compat.nameko._stages": "nameko.containers",
    "rpcservice.compat.nameko.containers": "nameko.containers",
    "rpcservice.core.container": "nameko.containers",
    "rpcservice.core.lifecycle": "nameko.containers",
    "rpcservice.core.pool": "nameko.containers",
    "rpcservice.core.runner": "nameko.runners",
    "rpcservice.core.worker": "nameko.containers",
    "rpcservice.web.access": "nameko.web.server",
    "rpcservice.web.server": "nameko.web.server",
}


class _Words(logging.Filter):
    """Puts other words in the place of those that a logger of ours is given; what is filled in stays.

    Args:
        texts: What is said, by what would be said without it.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the words of a record, and let it pass."""
        record.msg = self.texts.get(record.msg, record.msg)
        return True


WORDS = {
    "rpcservice.core.worker": _Words(
        {
            "%s: %s": "error handling worker %s: %s",
            "(expected) %s: %s": "(expected) error handling worker %s: %s",
            "call stack of %s: %s": "call stack for %s: %s",
        }
    ),
}
"""What people look for in the logs of nameko's services."""


def connect() -> None:
    """Put nameko's loggers above ours; records keep the names of our loggers."""
    for name, words in WORDS.items():
        logging.getLogger(name).addFilter(words)
    for ours, theirs in _HOMES.items():
        _put_below(ours, theirs)


def disconnect() -> None:
    """Put our loggers back below each other."""
    for name, words in WORDS.items():
        logging.getLogger(name).removeFilter(words)
    for ours in _HOMES:
        _put_below(ours, "rpcservice" if ours != "rpcservice" else None)


def _put_below(name: str, parent: str | None) -> None:
    logger = logging.getLogger(name)
    logger.parent = logging.getLogger(parent)
    # Loggers remember which levels they pass on; this makes them forget.
    logger.setLevel(logger.level)
