"""Reads the modules of a code base, without importing them: what a name in one stands for when it is another's."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os.path import commonpath
from pathlib import Path

from rpcservice.migrate.files import is_python

_OURS = ("nameko", "rpcservice")


@dataclass
class _Class:
    path: Path
    """The file of its module."""
    bases: list[str]
    """As its module writes them."""
    made: dict[str, str] = field(default_factory=dict)
    """By its attributes, what is called to make them."""


@dataclass
class _Module:
    classes: dict[str, list[_Class]] = field(default_factory=lambda: defaultdict(list))
    aliases: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What else names stand for, as the module writes it."""
    imports: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What names are imported from, as dotted paths; with dots in front where an import is relative."""
    stars: list[str] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    """All that is imported, within functions too."""


class Modules:
    """The modules of a code base. Paths of imports have dots in front where the import is relative."""

    def __init__(self, codes: Mapping[Path, bytes]) -> None:
        """Read modules.

        Args:
            codes: Their code by their files. What is no Python, and other files, are left out.
        """
        self._modules: dict[Path, _Module] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._reach: dict[Path, tuple[bool, set[Path]]] = {}
        for path, code in codes.items():
            if is_python(path) and (tree := _parsed(code)) is not None:
                file = path.resolve()
                _Reader(file, module := _Module()).read(tree.body)
                self._modules[file] = module
                self._note_names(file)

    def _note_names(self, file: Path) -> None:
        """Note the names that a module may have, which depend on the folder that Python starts from."""
        parts = list(file.with_suffix("").parts[1:])
        if parts[-1] == "__init__":
            parts.pop()
        for start in range(len(parts)):
            self._by_name[".".join(parts[start:])].append(file)

    def concern_us(self, path: Path) -> bool:
        """Say whether a module may use what comes, through others of the code base, from nameko or from us."""
        files = [path.resolve()]
        seen = set(files)
        for file in files:
            if file not in self._reach:
                self._reach[file] = self._reach_of(file)
            is_reached, modules = self._reach[file]
            if is_reached:
                return True
            files += modules - seen
            seen |= modules
        return False

    def _reach_of(self, file: Path) -> tuple[bool, set[Path]]:
        """Say whether a module imports what comes from nameko or from us, and give those that it imports as a whole."""
        imports = self._modules[file].imported if file in self._modules else []
        found = (self._find(dotted, file) for dotted in imports)
        modules = {module for module, rest in found if module is not None and not rest}
        return any(name.partition(".")[0] in _OURS for dotted in imports for name in self._ends(dotted, file)), modules

    def _ends(self, dotted: str, file: Path) -> Iterator[str]:
        yield from self.ancestors(dotted, file)
        yield from (maker for _, maker in self.attributes(dotted, file))

    def origins(self, dotted: str, path: Path) -> Iterator[str]:
        """Give the dotted paths outside of the code base that an import leads to.

        Args:
            dotted: The path that is imported.
            path: The file of the module that imports it.
        """
        return (one for one in self._follow(dotted, path.resolve(), set()) if isinstance(one, str))

    def ancestors(self, dotted: str, path: Path) -> Iterator[str]:
        """Give what an import leads to outside of the code base, by way of the bases of classes too."""
        yield from self.origins(dotted, path)
        for one in self._classes(dotted, path.resolve()):
            for base in one.bases:
                yield from (end for end in self._follow_name(base, one.path, set()) if isinstance(end, str))

    def attributes(self, dotted: str, path: Path) -> Iterator[tuple[str, str]]:
        """Give the attributes of the classes that an import leads to, and of their bases, with what makes them."""
        for one in self._classes(dotted, path.resolve()):
            for attribute, maker in one.made.items():
                ends = self._follow_name(maker, one.path, set())
                yield from ((attribute, end) for end in ends if isinstance(end, str))

    def _classes(self, dotted: str, file: Path) -> list[_Class]:
        """Give the classes that an import leads to, and those that they derive from."""
        classes: list[_Class] = []
        ends = list(self._follow(dotted, file, set()))
        for end in ends:
            if isinstance(end, _Class) and not any(end is known for known in classes):
                classes.append(end)
                ends += [above for base in end.bases for above in self._follow_name(base, end.path, set())]
        return classes

    def _follow_name(self, name: str, file: Path, seen: set[tuple[str, Path]]) -> Iterator[str | _Class]:
        """Give what a name stands for in a module that writes it."""
        first, _, rest = name.partition(".")
        module = self._modules[file]
        is_known = False
        if first in module.classes:
            is_known = True
            yield from () if rest else module.classes[first]
        for path in module.imports.get(first, ()):
            is_known = True
            yield from self._follow(_joined(path, rest), file, seen)
        for alias in module.aliases.get(first, ()):
            is_known = True
            if (name, file) not in seen:
                yield from self._follow_name(_joined(alias, rest), file, seen | {(name, file)})
        if is_known:
            return
        for star in module.stars:
            yield from self._follow(_joined(star, name), file, seen)
        if rest:  # By way of ``import shop.base``.
            yield from self._follow(name, file, seen)

    def _follow(self, dotted: str, file: Path, seen: set[tuple[str, Path]]) -> Iterator[str | _Class]:
        """Give what an import leads to, from module to module."""
        if dotted.partition(".")[0] in _OURS:  # also within the code base of nameko itself
            yield dotted
            return
        if (dotted, file) in seen:
            return
        found, rest = self._find(dotted, file)
        if found is not None and rest:
            yield from self._follow_name(rest, found, seen | {(dotted, file)})
        elif found is None and not dotted.startswith("."):
            yield dotted

    def _find(self, dotted: str, file: Path) -> tuple[Path | None, str]:
        """Give the file of the module that a dotted path begins with, and the rest of the path."""
        absolute = dotted.lstrip(".")
        level = len(dotted) - len(absolute)
        parts = absolute.split(".") if absolute else []
        for count in range(len(parts), -1 if level else 0, -1):
            found = self._relative(level, parts[:count], file) if level else self._absolute(parts[:count], file)
            if found is not None:
                return found, ".".join(parts[count:])
        return None, dotted

    def _relative(self, level: int, parts: list[str], file: Path) -> Path | None:
        folder = file.parents[min(level, len(file.parents)) - 1].joinpath(*parts)
        names = (f"{folder.name}.py", f"{folder.name}/__init__.py", f"{folder.name}.pyi", f"{folder.name}/__init__.pyi")
        candidates = (folder.parent / name for name in names)
        return next((candidate for candidate in candidates if candidate in self._modules), None)

    def _absolute(self, parts: list[str], file: Path) -> Path | None:
        """Give the module of a name; the one next to the importing module where several may bear it."""
        found: dict[Path, int] = {}
        for candidate in self._by_name.get(".".join(parts), ()):
            root = candidate.parents[len(parts) - 1 + (candidate.stem == "__init__")]
            if root == file.parent or not (root / "__init__.py").exists():
                found[candidate] = len(Path(commonpath((file, candidate))).parts)
        return max(found, key=lambda candidate: found[candidate], default=None)


class _Reader:
    """Reads the statements of one module."""

    def __init__(self, path: Path, module: _Module) -> None:
        self._path = path
        self._module = module

    def read(self, statements: list[ast.stmt], *, is_top: bool = True) -> None:
        """Read statements, and those within them."""
        for statement in statements:
            if isinstance(statement, ast.Import):
                self._read_import(statement, is_top=is_top)
            elif isinstance(statement, ast.ImportFrom):
                self._read_import_from(statement, is_top=is_top)
            elif isinstance(statement, ast.ClassDef) and is_top:
                self._module.classes[statement.name].append(self._class(statement))
            elif isinstance(statement, ast.Assign) and is_top and (value := _dotted(statement.value)):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        self._module.aliases[target.id].append(value)
            is_scope = isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            for inner in _blocks_of(statement):
                self.read(inner, is_top=is_top and not is_scope)

    def _read_import(self, statement: ast.Import, *, is_top: bool) -> None:
        for alias in statement.names:
            self._module.imported.append(alias.name)
            if is_top and alias.asname:
                self._module.imports[alias.asname].append(alias.name)

    def _read_import_from(self, statement: ast.ImportFrom, *, is_top: bool) -> None:
        module = f"{'.' * statement.level}{statement.module or ''}"
        for alias in statement.names:
            if alias.name == "*":
                self._module.stars.append(module)
                self._module.imported.append(module)
                continue
            path = _joined(module, alias.name)
            self._module.imported.append(path)
            if is_top:
                self._module.imports[alias.asname or alias.name].append(path)

    def _class(self, statement: ast.ClassDef) -> _Class:
        found = _Class(self._path, [base for one in statement.bases if (base := _dotted(one))])
        for inner in statement.body:
            if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Call):
                maker = _dotted(inner.value.func)
                names = [target.id for target in inner.targets if isinstance(target, ast.Name)]
                found.made.update(dict.fromkeys(names, maker) if maker else {})
        return found


def _parsed(code: bytes) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # It is told by whoever has to read it.
        return None


def _blocks_of(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield handler.body


def _joined(before: str, rest: str) -> str:
    return f"{before}{'.' if rest and not before.endswith('.') else ''}{rest}"


def _dotted(node: ast.expr) -> str:
    """Give the dotted path that an expression is, empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else ""
