"""Finding, one thing that needs a person."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that a person has to look at.

    Attributes:
        path: The file.
        line: The line, from 1 on.
        what: What is there.
        mend: What to do about it.
    """

    path: Path
    line: int
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"
