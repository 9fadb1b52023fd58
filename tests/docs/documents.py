"""Reads the code blocks of the documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst")))

# The second form is a comment to Sphinx: readers do not see it, tests run it.
_DIRECTIVE = re.compile(r"(?P<indent> *)\.\. (?:code-block::|invisible-code-block:) (?P<language>\w+)$")


@dataclass(frozen=True)
class Block:
    """One code block: its language, its text, and the line of its document on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: Path, language: str) -> list[Block]:
    """Give a document's code blocks in a language, in their order."""
    return [block for block in _read(document.read_text(encoding="utf-8").splitlines()) if block.language == language]


def _read(lines: list[str]) -> Iterator[Block]:
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line)
        if directive is None:
            continue
        begin = number + 1
        while lines[begin].strip().startswith(":"):
            begin += 1
        end = begin
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(directive["indent"] + "   ")):
            end += 1
        yield Block(directive["language"], dedent("\n".join(lines[begin:end])), begin)


def commands(document: Path) -> list[str]:
    """Give the commands in a document's console blocks."""
    return [
        line.removeprefix("$ ")
        for block in blocks(document, "console")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    ]
