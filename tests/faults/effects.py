"""The database of effect_services.py, in which the effects of an idempotent handler are counted."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any


class Effects:
    """A table with a row for each time that an event had its effect.

    Attributes:
        settings: What the service is configured with.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "effects.sqlite3"
        url = f"sqlite:///{self._path}"
        self.settings: dict[str, Any] = {
            "sql_databases": {"default": url},
            "idempotency_store": url,
            "idempotency_lease": 2,
        }
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("CREATE TABLE effects (number TEXT NOT NULL)")
            connection.commit()

    def count(self) -> Counter[str]:
        """Give how often each event had its effect."""
        with closing(sqlite3.connect(self._path, timeout=60)) as connection:
            return Counter(number for (number,) in connection.execute("SELECT number FROM effects"))
