"""A ledger that several processes write to and that outlives the death of any: a line for each thing that happened."""

import os
from collections import Counter
from pathlib import Path


class Ledger:
    """Lines of two words: what happened, and to which number.

    A line is written with one system call, at the end of the file whoever else writes, so that a process that is killed
    has written it or has not.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fileno = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, number: object) -> None:
        """Add a line."""
        os.write(self._fileno, f"{what} {number}\n".encode())

    def read(self, what: str) -> Counter[str]:
        """Give how often it has happened to each number."""
        counts: Counter[str] = Counter()
        for line in self.path.read_text().splitlines():
            kind, _, number = line.partition(" ")
            if kind == what:
                counts[number] += 1
        return counts

    def close(self) -> None:
        """Write no more."""
        os.close(self._fileno)
