"""Rules for what is used otherwise with us than with nameko: runners' containers, the configuration, options."""

from collections.abc import Iterator

import libcst as cst
from libcst.helpers import get_full_name_for_node
from libcst.metadata import ParentNodeProvider

from rpcservice.migrate.names import ENTRYPOINTS

CONFIG = "rpcservice.Config"

_SEQUENCES = frozenset(("enumerate", "iter", "list", "next", "set", "sorted", "tuple"))
_CHANGES = frozenset(("clear", "pop", "popitem", "setdefault", "update"))
_VALUES = "it has them by the names of the services: use runner.containers.values()"
_READ_ONLY = "what Config() injects is read-only: keep the value elsewhere, or change a copy, dict(self.config)"


class UseRules(cst.CSTVisitor):
    """Visits a module, and notes what works otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._configs: set[str] = set()
        """Where ``Config()`` is declared, as ``self.config``."""

    def note(self, node: cst.CSTNode, what: str, mend: str) -> None:
        """Note what needs a person."""
        raise NotImplementedError

    def names_of(self, node: cst.CSTNode) -> Iterator[str]:
        """Give the paths, ours where there are, that an expression may stand for."""
        raise NotImplementedError

    def imported_as(self, node: cst.CSTNode) -> Iterator[str]:
        """Give the same, but for what comes by way of other modules of the code base."""
        raise NotImplementedError

    def attributes_of(self, node: cst.CSTNode) -> Iterator[tuple[str, str]]:
        """Give the attributes of a class that another module of the code base has, with what makes them."""
        raise NotImplementedError

    def note_declared_configs(self, node: cst.ClassDef) -> None:
        """Note the attributes of a class that are ``Config()``."""
        for base in node.bases:
            self._configs.update(f"self.{name}" for name, maker in self.attributes_of(base.value) if maker == CONFIG)
        for statement in node.body.body:
            for one in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                if (
                    isinstance(one, cst.Assign)
                    and isinstance(one.value, cst.Call)
                    and CONFIG in self.names_of(one.value.func)
                ):
                    names = (get_full_name_for_node(target.target) for target in one.targets)
                    self._configs.update(f"self.{name}" for name in names if name)

    def check_containers(self, node: cst.Attribute) -> None:
        """Look at ``runner.containers`` where it is gone through."""
        owner, _, name = (get_full_name_for_node(node) or "").rpartition(".")
        if name == "containers" and owner.rpartition(".")[2].endswith("runner") and self._is_sequence(node):
            self.note(node, f"{owner}.containers is a mapping", _VALUES)

    def _is_sequence(self, node: cst.Attribute) -> bool:
        parent = self.get_metadata(ParentNodeProvider, node, None)
        if isinstance(parent, cst.For | cst.CompFor):
            return parent.iter is node
        if isinstance(parent, cst.Arg):
            call = self.get_metadata(ParentNodeProvider, parent, None)
            return isinstance(call, cst.Call) and get_full_name_for_node(call.func) in _SEQUENCES
        if not isinstance(parent, cst.Subscript) or parent.value is not node:
            return False
        inner = parent.slice[0].slice
        return not isinstance(inner, cst.Index) or isinstance(inner.value, cst.Integer | cst.UnaryOperation)

    def check_options(self, node: cst.Call) -> None:
        """Look at the options of a call, and at a change of the configuration."""
        if not ENTRYPOINTS.intersection(self.imported_as(node.func)):  # of those it is rewritten
            for argument in node.args:
                if argument.keyword is not None and argument.keyword.value == "sensitive_variables":
                    self.note(argument, "sensitive_variables is nameko's", "it is called sensitive_arguments")
        owner, _, name = (get_full_name_for_node(node.func) or "").rpartition(".")
        if name in _CHANGES and owner in self._configs:
            self.note(node, f"{owner} is changed", _READ_ONLY)

    def check_change(self, target: cst.CSTNode) -> None:
        """Look at what is assigned to, or deleted."""
        if isinstance(target, cst.Subscript) and (owner := get_full_name_for_node(target.value)) in self._configs:
            self.note(target, f"{owner} is changed", _READ_ONLY)
