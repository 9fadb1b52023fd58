"""Rewrites imports of nameko, what is reached through its modules, and the paths in calls of ``mock.patch``."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import libcst as cst
from libcst.helpers import get_absolute_module_for_import, get_full_name_for_node
from libcst.metadata import MetadataWrapper, ParentNodeProvider, QualifiedNameProvider, QualifiedNameSource

from rpcservice.migrate.merging import merge
from rpcservice.migrate.names import ENTRYPOINTS, MODULES, TARGETS, Target

PATCHERS = ("patch", "setattr", "delattr")
"""Functions whose first argument is a dotted path, by the last part of their names."""

NAMEKO_PATH = re.compile(r"nameko(\.\w+)+")


def parse(code: bytes) -> MetadataWrapper:
    """Give a module's tree, with what is known of its nodes: for :func:`rewrite`, and to find what needs a person.

    Raises:
        libcst.ParserSyntaxError: It is no Python.
    """
    # A tree that comes from the parser has each node once, so that it need not be copied.
    return MetadataWrapper(cst.parse_module(code), unsafe_skip_copy=True)


def rewrite(module: MetadataWrapper) -> bytes:
    """Give a module's code with our names in the place of nameko's; what has no counterpart is left as it is."""
    uses = _Uses()
    return module.visit(uses).visit(_Imports(uses)).bytes


def imported_names(node: cst.CSTNode, visitor: Any) -> Iterator[str]:
    """Give the dotted paths that a name or an attribute may stand for by way of imports."""
    for name in visitor.get_metadata(QualifiedNameProvider, node, ()):
        if name.source is QualifiedNameSource.IMPORT:
            yield name.name


def is_path_argument(node: cst.CSTNode, visitor: Any) -> bool:
    """Say whether a string is the first argument of ``mock.patch`` or the like."""
    argument = visitor.get_metadata(ParentNodeProvider, node, None)
    call = visitor.get_metadata(ParentNodeProvider, argument, None) if isinstance(argument, cst.Arg) else None
    if not isinstance(call, cst.Call) or call.args[0] is not argument:
        return False
    return (get_full_name_for_node(call.func) or "").rpartition(".")[2] in PATCHERS


def target_of_path(path: str) -> tuple[Target, str] | None:
    """Give where a dotted path leads: the target, and what follows the name in the path; None for nowhere."""
    parts = path.split(".")
    for count in range(len(parts), 1, -1):
        target = TARGETS.get(".".join(parts[:count]))
        if target is not None:
            return target, "".join(f".{part}" for part in parts[count:])
    return None


def dotted(path: str) -> Any:
    """Give the expression for a dotted path."""
    first, *rest = path.split(".")
    node: cst.BaseExpression = cst.Name(first)
    for part in rest:
        node = cst.Attribute(node, cst.Name(part))
    return node


class _Uses(cst.CSTTransformer):
    """Rewrites what is reached through nameko's modules, and notes by which name, for the imports."""

    METADATA_DEPENDENCIES = (QualifiedNameProvider, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.needed: dict[str, set[str]] = defaultdict(set)
        """By the local name of a module of nameko's, the modules that its uses need now."""
        self._left: Counter[str] = Counter()

    def is_left(self, name: str) -> bool:
        """Say whether a local name still stands for a module of nameko's somewhere."""
        return self._left[name] > 0

    def modules_for(self, name: str) -> set[str]:
        """Give the modules to import where a local name stood for a module of nameko's."""
        return self.needed.get(name) or (set() if self.is_left(name) else {"rpcservice"})

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if any(name in MODULES for name in imported_names(original_node, self)):
            self._left[original_node.value] += 1
        return updated_node

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        for name in imported_names(original_node, self):
            target = TARGETS.get(name)
            if target is not None:
                root = (get_full_name_for_node(original_node) or "").partition(".")[0]
                self.needed[root].add(target.module)
                self._left[root] -= 1
                new = dotted(target.path)
                return new.with_changes(lpar=updated_node.lpar, rpar=updated_node.rpar)  # type: ignore[no-any-return]
        return updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        names = (TARGETS[name].path if name in TARGETS else name for name in imported_names(original_node.func, self))
        return _with_our_options(updated_node) if ENTRYPOINTS.intersection(names) else updated_node

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        path = original_node.raw_value
        if not NAMEKO_PATH.fullmatch(path) or not is_path_argument(original_node, self):
            return updated_node
        found = target_of_path(path)
        if found is None:
            return updated_node
        target, rest = found
        return updated_node.with_changes(value=original_node.value.replace(path, f"{target.path}{rest}"))


def _with_our_options(call: cst.Call) -> cst.Call:
    """Give the call of a decorator with ``sensitive_arguments`` under that name."""
    new = cst.Name("sensitive_arguments")
    args = [
        argument.with_changes(keyword=new)
        if argument.keyword is not None and argument.keyword.value == "sensitive_variables"
        else argument
        for argument in call.args
    ]
    return call.with_changes(args=args)


class _Imports(cst.CSTTransformer):
    """Rewrites the imports themselves."""

    def __init__(self, uses: _Uses) -> None:
        super().__init__()
        self._uses = uses
        self._blocks: list[set[str]] = []
        """For each block around, the modules that have been imported in it for a module of nameko's."""
        self._made: list[cst.ImportFrom] = []
        self._indent = ""

    def visit_Module(self, node: cst.Module) -> None:
        self._blocks.append(set())
        self._indent = node.default_indent

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> Any:
        return self._with_merged_imports(updated_node)

    def visit_IndentedBlock(self, node: cst.IndentedBlock) -> None:
        self._blocks.append(set())

    def leave_IndentedBlock(self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock) -> Any:
        self._blocks.pop()
        return self._with_merged_imports(updated_node)

    def _with_merged_imports(self, block: Any) -> Any:
        if len(self._made) < 2:
            return block
        indentation = len(self._indent) * (len(self._blocks) - 1)
        return block.with_changes(body=merge(block.body, self._made, indentation, self._indent))

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> Any:
        statements: list[cst.BaseSmallStatement] = []
        for statement in updated_node.body:
            statements.extend(self._rewritten(statement))
        if not statements:
            if not _has_words(updated_node):
                return cst.RemoveFromParent()
            # Imported above already, but the comments need a line to stand on.
            statements = [cst.Import([cst.ImportAlias(dotted("rpcservice"))])]
        if len(statements) == len(updated_node.body) == 1:
            return updated_node.with_changes(body=statements)
        if len(updated_node.body) > 1:
            return self._on_one_line(updated_node, statements)
        first, *rest = statements
        lines = [updated_node.with_changes(body=[first])]
        lines += [cst.SimpleStatementLine([statement]) for statement in rest]
        return cst.FlattenSentinel(lines)

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> Any:
        self._blocks.append(set())
        statements = [new for statement in updated_node.body for new in self._rewritten(statement)]
        self._blocks.pop()
        return self._on_one_line(updated_node, statements)

    @staticmethod
    def _on_one_line(node: Any, statements: Sequence[cst.BaseSmallStatement]) -> Any:
        if all(new is old for new, old in zip(statements, node.body, strict=False)) and len(statements) == len(
            node.body
        ):
            return node
        semicolon = cst.Semicolon(whitespace_after=cst.SimpleWhitespace(" "))
        body = [statement.with_changes(semicolon=semicolon) for statement in statements[:-1]]
        return node.with_changes(body=[*body, statements[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)])

    def _rewritten(self, statement: cst.BaseSmallStatement) -> Sequence[cst.BaseSmallStatement]:
        if isinstance(statement, cst.Import):
            return self._import(statement)
        if isinstance(statement, cst.ImportFrom):
            return self._import_from(statement)
        return [statement]

    def _import(self, statement: cst.Import) -> Sequence[cst.BaseSmallStatement]:
        """Rewrite ``import nameko.rpc, os``."""
        # What an earlier run has made, or the author has, is not imported once more further down.
        self._blocks[-1].update(alias.evaluated_name for alias in statement.names if alias.asname is None)
        theirs = [alias for alias in statement.names if alias.evaluated_name in MODULES]
        new = self._modules([_local_name(alias) for alias in theirs])
        kept = [alias for alias in statement.names if alias not in theirs or self._uses.is_left(_local_name(alias))]
        if len(kept) == len(statement.names):
            return [statement, *new]
        if kept:
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            return [*new, statement.with_changes(names=kept)]
        return new

    def _modules(self, local_names: Sequence[str]) -> list[cst.Import]:
        """Give the imports of the modules that are used in the place of nameko's."""
        needed = {module for name in local_names for module in self._uses.modules_for(name)}
        new = sorted(needed - self._blocks[-1])
        self._blocks[-1].update(new)
        return [cst.Import([cst.ImportAlias(dotted(module))]) for module in new]

    def _import_from(self, statement: cst.ImportFrom) -> Sequence[cst.BaseSmallStatement]:
        """Rewrite ``from nameko.rpc import rpc, RpcProxy as R``, and ``from nameko.testing import utils``."""
        module = get_absolute_module_for_import(None, statement) if not statement.relative else None
        if module not in MODULES or isinstance(statement.names, cst.ImportStar):
            return [statement]
        groups: dict[str, list[cst.ImportAlias]] = {}
        modules: list[str] = []
        for alias in statement.names:
            path = f"{module}.{alias.evaluated_name}"
            target = TARGETS.get(path)
            if target is not None:
                groups.setdefault(target.module, []).append(_renamed(alias, target.name))
                continue
            if path in MODULES:
                modules.append(local := alias.evaluated_alias or alias.evaluated_name)
                if not self._uses.is_left(local):
                    continue
            groups.setdefault(module, []).append(alias)
        new = self._modules(modules)
        if len(groups.get(module, ())) == len(statement.names):
            return [statement, *new]
        made = [_import_of(statement, home, aliases) for home, aliases in groups.items()]
        self._made += (one for one, home in zip(made, groups, strict=True) if home != module)
        return [*new, *made]


def _local_name(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name.partition(".")[0]


def _renamed(alias: cst.ImportAlias, name: str) -> cst.ImportAlias:
    """Give an alias that imports another name under the same local one."""
    local = alias.evaluated_alias or alias.evaluated_name
    if local == name:
        return alias.with_changes(name=cst.Name(name), asname=None)
    if alias.asname is not None:
        return alias.with_changes(name=cst.Name(name))
    return alias.with_changes(name=cst.Name(name), asname=cst.AsName(cst.Name(local)))


def _import_of(statement: cst.ImportFrom, module: str, aliases: list[cst.ImportAlias]) -> cst.ImportFrom:
    """Give an import that looks like a given one: within parentheses where that is, each name on its line."""
    given = list(statement.names) if not isinstance(statement.names, cst.ImportStar) else []
    between = given[0].comma if len(given) > 1 else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    *others, last = aliases
    names = [alias if _has_comment(alias) else alias.with_changes(comma=between) for alias in others]
    # Without parentheses nothing may follow the last name.
    names.append(_as_last(last, given[-1].comma) if statement.lpar else last.with_changes(comma=given[-1].comma))
    return statement.with_changes(module=dotted(module), names=names)


def _as_last(alias: cst.ImportAlias, comma: cst.Comma | cst.MaybeSentinel) -> cst.ImportAlias:
    """Give an alias with what follows the last one of an import, but its own comment."""
    if not _has_comment(alias) or alias.comma is comma:
        return alias.with_changes(comma=comma)
    own = cst.ensure_type(alias.comma, cst.Comma)
    space = cst.ensure_type(own.whitespace_after, cst.ParenthesizedWhitespace)
    return alias.with_changes(
        comma=own.with_changes(whitespace_after=space.with_changes(indent=False, last_line=cst.SimpleWhitespace("")))
    )


def _has_words(line: cst.SimpleStatementLine) -> bool:
    """Say whether there are comments above a line."""
    return any(empty.comment is not None for empty in line.leading_lines)


def _has_comment(alias: cst.ImportAlias) -> bool:
    comma = alias.comma
    if not isinstance(comma, cst.Comma):
        return False
    after = comma.whitespace_after
    return isinstance(after, cst.ParenthesizedWhitespace) and after.first_line.comment is not None
