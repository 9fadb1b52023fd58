"""Migrates the files of a code base: what is to be rewritten, and what needs a person."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from io import BytesIO
from pathlib import Path
from tokenize import detect_encoding

import libcst as cst

from rpcservice.migrate.files import Files, is_python, write
from rpcservice.migrate.finding import Finding
from rpcservice.migrate.findings import find, is_test_file
from rpcservice.migrate.imports import parse, rewrite
from rpcservice.migrate.modules import Modules
from rpcservice.migrate.texts import find_in_text, is_text_to_read

Tell = Callable[[int, int], None]

_FUNCTION = re.compile(rb"^\s*def (\w+)", re.MULTILINE)
_NAMES_NAMEKO = re.compile(rb"nameko")
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
        old, new = (code.decode(self._encoding, "replace").splitlines() for code in (self.before, self.after))
        return unified_diff(old, new, f"a/{self.path}", f"b/{self.path}", lineterm="")

    @property
    def _encoding(self) -> str:
        return detect_encoding(BytesIO(self.before).readline)[0]


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


def migrate(paths: Sequence[Path], *, writes: bool, tell: Tell = lambda done, total: None) -> Report:
    """Look through files and folders, and rewrite what imports nameko.

    Args:
        paths: Files and folders. A folder's Python files are taken, and others where nameko may be named.
        writes: Whether files are written; then findings have the lines of the new code.
        tell: Called after each file, with the number of those that are done, and of all.
    """
    files = Files()
    codes = files.read(paths)
    code_base = _CodeBase(set(_own_names(codes)), Modules(codes))
    report = Report(broken=files.broken)
    for done, (path, code) in enumerate(codes.items(), 1):
        try:
            _migrate_file(path, code, code_base, report, writes=writes)
        except cst.ParserSyntaxError as exc:
            report.broken.append(_no_python(path, code, exc.raw_line, exc.message))
        except (SyntaxError, UnicodeError, LookupError) as exc:  # It is in another encoding than it says.
            report.broken.append(_no_python(path, code, 1, str(exc)))
        except RecursionError:
            report.broken.append(Finding(path, 1, "is nested too deeply", "migrate it by hand"))
        except OSError as exc:
            report.broken.append(Finding(path, 1, "cannot be written", str(exc.strerror or exc)))
        tell(done, len(codes))
    report.findings.sort()
    return report


@dataclass(frozen=True)
class _CodeBase:
    own_names: set[str]
    modules: Modules


def _own_names(codes: Mapping[Path, bytes]) -> Iterator[str]:
    """Give the names of the packages, modules and functions of a code base."""
    for path, code in codes.items():
        if is_python(path):
            yield path.stem
            yield path.resolve().parent.name
            yield from (name.decode() for name in _FUNCTION.findall(code))


def _no_python(path: Path, code: bytes, line: int, what: str) -> Finding:
    """Say where a file is no Python: as Python sees it, which is more exact, unless it sees nothing wrong."""
    try:
        ast.parse(code)
    except SyntaxError as exc:
        line, what = exc.lineno or line, exc.msg
    except ValueError as exc:  # a zero byte
        what = str(exc)
    return Finding(path, line, f"no Python: {what}", "correct it, and migrate again")


def _migrate_file(path: Path, code: bytes, code_base: _CodeBase, report: Report, *, writes: bool) -> None:
    found: list[Finding] = []
    if is_python(path) and _is_to_read(path, code, code_base):
        module = parse(code)
        new = rewrite(module) if _NAMES_NAMEKO.search(code) else code
        if new != code:
            if writes:
                module = parse(new)
                write(path, new)
            report.changes.append(Change(path, code, new))
        found = find(module, path, code_base.own_names, code_base.modules)
        code = module.module.bytes
    if is_text_to_read(path):
        texts = list(find_in_text(code.decode("utf-8", "replace"), path))
        lines = {finding.line for finding in texts}
        found = [*texts, *(finding for finding in found if finding.line not in lines)]
    report.findings += found


def _is_to_read(path: Path, code: bytes, code_base: _CodeBase) -> bool:
    return bool(_CONCERNS_US.search(code)) or is_test_file(path) or code_base.modules.concern_us(path)
