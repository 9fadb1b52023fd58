"""Migrates the files of a code base: what is to be rewritten, and what needs a person."""

import ast
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from fnmatch import fnmatch
from pathlib import Path

import libcst as cst

from rpcservice.migrate.finding import Finding
from rpcservice.migrate.findings import find, is_test_file
from rpcservice.migrate.imports import rewrite
from rpcservice.migrate.modules import Modules
from rpcservice.migrate.texts import find_in_text, is_text_to_read

SKIPPED = (
    ".*",
    "*.dist-info",
    "*.egg-info",
    "__pycache__",
    "build",
    "dist",
    "env",
    "node_modules",
    "site-packages",
    "venv",
)
"""Folders that are not gone into."""

_FUNCTION = re.compile(rb"^\s*def (\w+)", re.MULTILINE)
_CONCERNS_US = re.compile(rb"nameko|rpcservice")


@dataclass
class Change:
    """What one file becomes.

    Attributes:
        path: The file.
        before: What is in it.
        after: What will be in it.
    """

    path: Path
    before: bytes
    after: bytes

    def diff(self) -> Iterator[str]:
        """Give the lines of a unified diff, without their ends."""
        old, new = (code.decode("utf-8", "replace").splitlines() for code in (self.before, self.after))
        return unified_diff(old, new, f"a/{self.path}", f"b/{self.path}", lineterm="")


@dataclass
class Report:
    """What became of a code base.

    Attributes:
        changes: The files that are to be rewritten, or were.
        findings: What needs a person.
        broken: Files that could not be read, with the reasons.
    """

    changes: list[Change] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)


def migrate(paths: Sequence[Path], *, writes: bool) -> Report:
    """Look through files and folders, and rewrite what imports nameko.

    Args:
        paths: Files and folders. A folder's Python files are taken, and others where nameko may be named.
        writes: Whether files are written; then findings have the lines of the new code.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files_in(path)))
    report = Report()
    codes = dict(_read(files, report))
    own_names = set(_own_names(codes))
    modules = Modules(codes)
    for path, code in codes.items():
        try:
            _migrate_file(path, code, own_names, modules, report, writes=writes)
        except cst.ParserSyntaxError as exc:
            report.broken.append(_no_python(path, code, exc))
        except OSError as exc:
            report.broken.append(Finding(path, 1, "cannot be written", str(exc.strerror or exc)))
    report.findings.sort()
    return report


def _files_in(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not any(fnmatch(name, pattern) for pattern in SKIPPED))
        for file in (Path(folder) / name for name in sorted(names)):
            if file.suffix == ".py" or is_text_to_read(file):
                yield file


def _own_names(codes: Mapping[Path, bytes]) -> Iterator[str]:
    """Give the names of the packages, modules and functions of a code base."""
    for path, code in codes.items():
        if path.suffix == ".py":
            yield path.stem
            yield path.resolve().parent.name
            yield from (name.decode() for name in _FUNCTION.findall(code))


def _read(files: Iterable[Path], report: Report) -> Iterator[tuple[Path, bytes]]:
    for file in files:
        try:
            yield file, file.read_bytes()
        except OSError as exc:
            report.broken.append(Finding(file, 1, "cannot be read", str(exc.strerror or exc)))


def _no_python(path: Path, code: bytes, error: cst.ParserSyntaxError) -> Finding:
    """Say where a file is no Python: as Python sees it, which is more exact, unless it sees nothing wrong."""
    line, what = error.raw_line, error.message
    try:
        ast.parse(code)
    except SyntaxError as exc:
        line, what = exc.lineno or line, exc.msg
    except ValueError as exc:  # a zero byte
        what = str(exc)
    return Finding(path, line, f"no Python: {what}", "correct it, and migrate again")


def _migrate_file(
    path: Path, code: bytes, own_names: set[str], modules: Modules, report: Report, *, writes: bool
) -> None:
    if path.suffix == ".py" and (_CONCERNS_US.search(code) or is_test_file(path) or modules.concern_us(path)):
        new = rewrite(code)
        if new != code:
            if writes:
                path.write_bytes(new)
            report.changes.append(Change(path, code, new))
        report.findings += find(new if writes else code, path, own_names, modules)
    if is_text_to_read(path):
        report.findings += find_in_text(code.decode("utf-8", "replace"), path)
