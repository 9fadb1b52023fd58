"""Merges the imports that a rewrite has made of one module: nameko has in many modules what we have in few."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst
from libcst.helpers import get_full_name_for_node

LINE_LENGTH = 88
"""Columns, after which names are put on lines of their own; what formatters use unless they are told otherwise."""


@dataclass
class _Target:
    at: int
    """The index of its line."""
    local: dict[str, str]
    """Its local names, with the names that it imports by them."""
    bound_below: set[str] = field(default_factory=set)
    """Local names that imports of others below it bind."""

    def takes(self, local: dict[str, str]) -> bool:
        """Say whether names mean the same when they are imported here."""
        return not self.bound_below.intersection(local) and all(
            self.local.get(name, imported) == imported for name, imported in local.items()
        )


def merge(
    body: Sequence[cst.CSTNode], made: Collection[cst.ImportFrom], indentation: int, indent: str
) -> list[cst.CSTNode]:
    """Give the lines of a block in which an import has taken in those of the same module below it.

    Only lines of imports may be between them, and none that binds one of the names. Lines with comments stay.

    Args:
        body: The statements of the block.
        made: The imports that may be merged, those made by the rewrite.
        indentation: Columns in front of the lines.
        indent: What a level of indentation is.
    """
    lines: list[cst.CSTNode] = []
    targets: dict[str, _Target] = {}
    blank: Sequence[cst.EmptyLine] = ()
    for line in body:
        if blank and isinstance(line, cst.SimpleStatementLine) and not line.leading_lines:
            line = line.with_changes(leading_lines=blank)
        blank = ()
        statement = _import_in(line)
        if statement is None or (local := _bound_by(statement)) is None:
            targets.clear()
            lines.append(line)
            continue
        module = _module_to_merge(statement, made)
        target = targets.get(module)
        if target is not None and target.takes(local) and not _has_comment(line):
            lines[target.at] = _merged(lines[target.at], statement, indentation, indent)
            target.local.update(local)
            blank = cst.ensure_type(line, cst.SimpleStatementLine).leading_lines
            continue
        for other in targets.values():
            other.bound_below.update(local)
        if module and not _has_comment(line, but="leading_lines"):
            targets[module] = _Target(len(lines), local)
        lines.append(line)
    return lines


def _import_in(line: cst.CSTNode) -> cst.Import | cst.ImportFrom | None:
    """Give the import that a line consists of."""
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return None
    statement = line.body[0]
    return statement if isinstance(statement, cst.Import | cst.ImportFrom) else None


def _bound_by(statement: cst.Import | cst.ImportFrom) -> dict[str, str] | None:
    """Give the local names that an import binds, with what they stand for; None where nobody knows."""
    if isinstance(statement.names, cst.ImportStar):
        return None
    bound = {}
    for alias in statement.names:
        name = alias.evaluated_name
        local = alias.evaluated_alias or (name if isinstance(statement, cst.ImportFrom) else name.partition(".")[0])
        bound[local] = name
    return bound


def _module_to_merge(statement: cst.Import | cst.ImportFrom, made: Collection[cst.ImportFrom]) -> str:
    """Give the module of an import that may be merged; empty for others."""
    if isinstance(statement, cst.Import) or statement not in made or statement.module is None:
        return ""
    return get_full_name_for_node(statement.module) or ""


def _has_comment(node: cst.CSTNode, but: str = "") -> bool:
    """Say whether there is a comment in code, one of its parts left out."""
    if isinstance(node, cst.Comment):
        return True
    left_out = getattr(node, but) if but else ()
    return any(_has_comment(child) for child in node.children if not any(child is one for one in left_out))


def _merged(line: Any, other: Any, indentation: int, indent: str) -> Any:
    """Give a line with the names of another import too, sorted."""
    statement = line.body[0]
    aliases = {(one.evaluated_name, one.evaluated_alias): one for one in (*statement.names, *other.names)}
    names = [
        aliases[key].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        for key in sorted(aliases, key=lambda key: (_kind(key[0]), key[0], key[1] or ""))
    ]
    merged = statement.with_changes(names=names, lpar=None, rpar=None)
    is_long = indentation + len(cst.Module([]).code_for_node(merged)) > LINE_LENGTH
    if is_long or _is_upright(statement) or _is_upright(other):
        merged = _upright(merged, names, indent)
    return line.with_changes(body=[merged])


def _kind(name: str) -> int:
    """Sort as formatters do: constants, classes, and the rest."""
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[:1].isupper() else 2


def _is_upright(statement: cst.ImportFrom) -> bool:
    """Say whether an import has names on lines of their own."""
    return statement.lpar is not None and isinstance(statement.lpar.whitespace_after, cst.ParenthesizedWhitespace)


def _upright(statement: cst.ImportFrom, names: Sequence[cst.ImportAlias], indent: str) -> cst.ImportFrom:
    """Give an import with each name on a line of its own."""
    inner = cst.ParenthesizedWhitespace(indent=True, last_line=cst.SimpleWhitespace(indent))
    outer = cst.ParenthesizedWhitespace(indent=True)
    *others, last = names
    aliases = [alias.with_changes(comma=cst.Comma(whitespace_after=inner)) for alias in others]
    aliases.append(last.with_changes(comma=cst.Comma(whitespace_after=outer)))
    return statement.with_changes(names=aliases, lpar=cst.LeftParen(whitespace_after=inner), rpar=cst.RightParen())
