"""Finds in Python code what needs a person. It knows nameko's names and ours, and looks before a rewrite or after."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import libcst as cst
from libcst.helpers import get_absolute_module_for_import, get_full_name_for_node
from libcst.metadata import (
    ExpressionContextProvider,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameProvider,
    ScopeProvider,
)

from rpcservice.migrate.extension_findings import ExtensionRules
from rpcservice.migrate.finding import Finding
from rpcservice.migrate.imports import imported_names, is_path_argument, target_of_path
from rpcservice.migrate.modules import Modules
from rpcservice.migrate.names import COMPAT, FIXTURES, MISSING, MODULES, NOWHERE, TARGETS
from rpcservice.migrate.use_findings import UseRules

RUN_SERVICES = "rpcservice.run_services"
SERVICE_RUNNER = "rpcservice.ServiceRunner"
# How many positional arguments each takes, the configuration being the last of them.
CLIENTS = {
    "rpcservice.standalone.ClusterRpcClient": 1,
    "rpcservice.standalone.ServiceRpcClient": 2,
    "rpcservice.standalone.event_dispatcher": 1,
}

_NAMEKO = re.compile(r"nameko(\.\w+)*")
_TEXT = "name what is meant of ours; a logger is named after its module, such as rpcservice.core.worker"
_UNKNOWN = "rpcservice has nothing of that name; look for it in docs/api.rst"


def find(
    module: MetadataWrapper, path: Path, own_names: Collection[str] = (), modules: Modules | None = None
) -> list[Finding]:
    """Give what a person has to look at in a module.

    Args:
        module: The module, parsed.
        path: Its file, for the findings.
        own_names: Packages, modules and functions of the code base, which may be called as others are.
        modules: The modules of the code base; without them, nothing is known of what this one imports from others.
    """
    finder = _Finder(path, own_names, modules or Modules({path: module.module.bytes}))
    module.visit(finder)
    return sorted(set(finder.findings))


def is_test_file(path: Path) -> bool:
    """Say whether pytest looks for tests or fixtures in a file."""
    return path.name == "conftest.py" or path.name.startswith("test_") or path.stem.endswith("_test")


def canonical(path: str) -> str:
    """Give our own path for nameko's, and nameko's for what only the compatibility layer has."""
    path = path.removeprefix(f"{COMPAT}.") if path.startswith(f"{COMPAT}.nameko.") else path
    target = TARGETS.get(path)
    return path if target is None or target.mend else target.path


class _Finder(ExtensionRules, UseRules):
    METADATA_DEPENDENCIES = (
        QualifiedNameProvider,
        ParentNodeProvider,
        PositionProvider,
        ExpressionContextProvider,
        ScopeProvider,
    )

    def __init__(self, path: Path, own_names: Collection[str], modules: Modules) -> None:
        super().__init__()
        self.findings: list[Finding] = []
        self._path = path
        self._own_names = own_names
        self._modules = modules

    def note(self, node: cst.CSTNode, what: str, mend: str) -> None:
        line = self.get_metadata(PositionProvider, node).start.line
        self.findings.append(Finding(self._path, line, what, mend))

    def imported_as(self, node: cst.CSTNode) -> Iterator[str]:
        return (canonical(name) for name in imported_names(node, self))

    def names_of(self, node: cst.CSTNode) -> Iterator[str]:
        for name in imported_names(node, self):
            yield from map(canonical, self._modules.origins(name, self._path))

    def ancestors_of(self, node: cst.CSTNode) -> Iterator[str]:
        for name in self._paths_of(node):
            yield from map(canonical, self._modules.ancestors(name, self._path))

    def attributes_of(self, node: cst.CSTNode) -> Iterator[tuple[str, str]]:
        for path in self._paths_of(node):
            for name, maker in self._modules.attributes(path, self._path):
                yield name, canonical(maker)

    def _paths_of(self, node: cst.CSTNode) -> list[str]:
        """Give the paths by which other modules could import what an expression stands for."""
        name = get_full_name_for_node(node)
        return list(imported_names(node, self)) or ([f".{self._path.stem}.{name}"] if name else [])

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        super().visit_ClassDef(node)
        self.note_declared_configs(node)

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self.check_change(node.target)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self.check_change(node.target)

    def visit_Del(self, node: cst.Del) -> None:
        self.check_change(node.target)

    # Imports

    def visit_Import(self, node: cst.Import) -> bool:
        for alias in node.names:
            self._check_module(node, alias.evaluated_name)
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        module = None if node.relative else get_absolute_module_for_import(None, node)
        if module is None or not self._check_module(node, module):
            return False
        if isinstance(node.names, cst.ImportStar):
            if canonical(module) in MODULES:
                self.note(node, f"from {module} import *", "import what is used by name, and migrate again")
            return False
        for alias in node.names:
            path = canonical(f"{module}.{alias.evaluated_name}")
            if path in MISSING and not self._is_used(alias):
                self.note(alias, f"{path} is imported, and not used", "remove the import")
            else:
                self._check_name(alias, path)
        return False

    def _is_used(self, alias: cst.ImportAlias) -> bool:
        scope = self.get_metadata(ScopeProvider, alias.name, None) or self.get_metadata(ScopeProvider, alias, None)
        if scope is None:
            return True
        return any(assignment.references for assignment in scope[alias.evaluated_alias or alias.evaluated_name])

    def _check_module(self, node: cst.CSTNode, module: str) -> bool:
        """See whether a module is one to look into; note one that nobody knows."""
        package = module.partition(".")[0]
        if package.startswith("nameko_") and package not in self._own_names:
            self.note(
                node,
                f"{package} is made for nameko, and imports it",
                "call rpcservice.compat.nameko.install() before, or run by `rpcservice run --nameko`",
            )
        if canonical(f"{module}.") in MODULES or not module.startswith(("nameko.", f"{COMPAT}.nameko.")):
            return True
        known = canonical(module) in MODULES or module.removeprefix(f"{COMPAT}.") in MODULES
        if not known:
            self.note(node, f"{module} is not known", _UNKNOWN)
        return known

    def _check_name(self, node: cst.CSTNode, path: str) -> None:
        """Note a name of nameko's that is not ours."""
        if not path.startswith("nameko.") or (path in MODULES and path not in MISSING):
            return
        found = target_of_path(path)
        if found is not None and found[0].mend:
            self.note(node, f"{path} goes on working, from the compatibility layer", found[0].mend)
        elif found is None:
            only_drop_in = path in MISSING and path not in NOWHERE
            what = f"only drop-in mode has {path}" if only_drop_in else f"there is no {path}"
            self.note(node, what, MISSING.get(path, _UNKNOWN))

    # What is reached through modules

    def visit_Attribute(self, node: cst.Attribute) -> None:
        super().visit_Attribute(node)
        self.check_containers(node)
        self._check_use(node)

    def visit_Name(self, node: cst.Name) -> None:
        self._check_use(node)

    def _check_use(self, node: cst.Attribute | cst.Name) -> None:
        parent = self.get_metadata(ParentNodeProvider, node, None)
        if isinstance(parent, cst.Attribute) and any(imported_names(parent, self)):
            return  # only the whole of a dotted path says what it is
        for name in imported_names(node, self):
            path = name.removeprefix(f"{COMPAT}.")
            if path == "nameko.config" or path.startswith("nameko.config."):
                self.note(node, "nameko.config is used", MISSING["nameko.config"])
            elif path in MODULES:
                self.note(node, f"the module {path} is used as a whole", "name what is used of it, and migrate again")
            elif isinstance(node, cst.Attribute) and self._is_through_module(node):
                self._check_name(node, canonical(path))

    def _is_through_module(self, node: cst.Attribute) -> bool:
        root: cst.BaseExpression = node
        while isinstance(root, cst.Attribute):
            root = root.value
        return any(name == "rpcservice" or name in MODULES for name in imported_names(root, self))

    # Strings

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        path = node.raw_value
        if not _NAMEKO.fullmatch(path):
            return
        if is_path_argument(node, self) and path != "nameko":
            if target_of_path(path) is None:
                self.note(node, f"{path!r} is patched", MISSING.get(path, _UNKNOWN))
            return
        mend = MISSING.get(path, _TEXT)
        self.note(node, f"the text {path!r} names nameko", mend)

    # Calls

    def visit_Call(self, node: cst.Call) -> None:
        super().visit_Call(node)
        self.check_options(node)
        keywords = {argument.keyword.value for argument in node.args if argument.keyword is not None}
        positional = [argument.value for argument in node.args if argument.keyword is None and not argument.star]
        is_spread = any(argument.star for argument in node.args)
        for name in self.names_of(node.func):
            if name == RUN_SERVICES and positional and not _may_be_class(positional[0]):
                self.note(
                    node, "run_services gets the configuration first", "give it last: run_services(A, B, config=config)"
                )
            elif name == SERVICE_RUNNER and not (positional or keywords or is_spread):
                self.note(node, "ServiceRunner gets no configuration", "there is no global one: ServiceRunner(config)")
            elif name in CLIENTS and not is_spread:
                self._check_client(node, name, len(positional), keywords)
        if get_full_name_for_node(node.func) == "runner_factory" and positional and not _may_be_class(positional[0]):
            self.note(
                node, "runner_factory gets the configuration first", "give it last: runner_factory(A, config=config)"
            )

    def _check_client(self, node: cst.Call, name: str, given: int, keywords: set[str]) -> None:
        function = name.rpartition(".")[2]
        if given > CLIENTS[name]:
            self.note(node, f"{function} gets options by position", "name them: context_data=..., timeout=...")
        elif given < CLIENTS[name] and not keywords & {"config", "uri"}:
            self.note(node, f"{function} gets no configuration", "there is no global one: give config=, or uri=")

    # Fixtures

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        super().visit_FunctionDef(node)
        if not is_test_file(self._path) or not _is_test_or_fixture(node):
            return
        for parameter in node.params.params:
            name = parameter.name.value
            if name in FIXTURES and name not in self._own_names:
                self.note(node, f"the fixture {name} is nameko's", FIXTURES[name])


def _is_test_or_fixture(node: cst.FunctionDef) -> bool:
    decorators = [decorator.decorator for decorator in node.decorators]
    names = [get_full_name_for_node(one.func if isinstance(one, cst.Call) else one) or "" for one in decorators]
    return node.name.value.startswith("test") or any(name.endswith("fixture") for name in names)


def _may_be_class(node: cst.BaseExpression) -> bool:
    """Say by its name whether an argument may be a service class, and no configuration."""
    if not isinstance(node, cst.Name | cst.Attribute):
        return False
    name = (node.attr if isinstance(node, cst.Attribute) else node).value
    is_constant = len(name) > 1 and name.isupper()
    return (name[0].isupper() and not is_constant) or name == "cls" or name.endswith(("_cls", "_class"))
