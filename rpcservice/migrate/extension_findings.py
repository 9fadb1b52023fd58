"""Rules for classes that extend nameko, and what they call: what means something else to us in their bodies."""

from collections.abc import Iterator

import libcst as cst
from libcst.helpers import get_full_name_for_node
from libcst.metadata import ExpressionContext, ExpressionContextProvider, ParentNodeProvider

EXTENSIONS = frozenset(
    ("rpcservice.DependencyProvider", "rpcservice.Entrypoint", "rpcservice.Extension", "rpcservice.SharedExtension")
)
CONTAINER = "rpcservice.ServiceContainer"
HOST = frozenset(
    (
        "around",
        "backend",
        "bind_part",
        "resource",
        "run_worker",
        "service_name",
        "spawn_managed_thread",
        "spawn_worker",
    )
)
"""What extensions may ask of their host; it has ``config`` too, which is another one than nameko's."""

_HOST_HAS = f"it has: config, {', '.join(sorted(HOST))}"
_MAKERS = frozenset(("defaultdict", "deque", "dict", "list", "set"))
_CHANGES = frozenset(("clear", "pop", "setdefault", "update"))
_CONTEXTS = frozenset(("context", "ctx", "worker_context", "worker_ctx"))

_RESULT = (
    "it gets the exception or None: def worker_result(self, ctx, result=None, error=None); and it comes before the "
    "caller has the answer"
)
_HANDLE = "override encode(ctx), which makes ctx.reply, and settle(ctx), which sends it"
_INIT = "instances are copied, not made anew, for each container, and would share it: make it in setup()"
_DATA = "ctx.data is a copy: change ctx.context_data"
_RENAME = "an extension's host is its container: give the attribute another name, such as hostname, wherever it is used"
_SPAWN = (
    "ours is called with the keywords context_data= and message=, and gives the context: "
    "def spawn_worker(self, entrypoint, args=(), kwargs=None, *, context_data=None, message=None)"
)
_MAPPING = frozenset(("copy", "get", "items", "keys", "values"))


class ExtensionRules(cst.CSTVisitor):
    """Visits the classes of a module, and notes what is to be seen to in those that extend."""

    def __init__(self) -> None:
        super().__init__()
        self._classes: list[bool] = []
        """For each class around: whether it is an extension."""
        self._functions: list[str] = []
        self._known: set[str] = set()

    def note(self, node: cst.CSTNode, what: str, mend: str) -> None:
        """Note what needs a person."""
        raise NotImplementedError

    def names_of(self, node: cst.CSTNode) -> Iterator[str]:
        """Give the paths, ours where there are, that an expression may stand for."""
        raise NotImplementedError

    def ancestors_of(self, node: cst.CSTNode) -> Iterator[str]:
        """Give the paths that an expression may stand for, and those that the class behind it derives from."""
        raise NotImplementedError

    @property
    def _extends(self) -> bool:
        return bool(self._classes) and self._classes[-1]

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        """Go into a class."""
        bases = [argument.value for argument in node.bases]
        extends = any(
            EXTENSIONS.intersection(self.ancestors_of(base))
            or (isinstance(base, cst.Name) and base.value in self._known)
            for base in bases
        )
        if extends:
            self._known.add(node.name.value)
            self._check_class_body(node)
        elif any(CONTAINER in self.ancestors_of(base) for base in bases):
            self._check_container(node)
        self._classes.append(extends)
        self._functions.append("")

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        """Leave it."""
        self._classes.pop()
        self._functions.pop()

    def _check_class_body(self, node: cst.ClassDef) -> None:
        """Look for an attribute ``host`` of the class, a property among them."""
        for statement in node.body.body:
            small = statement.body if isinstance(statement, cst.SimpleStatementLine) else [statement]
            for one in small:
                if isinstance(one, cst.BaseSmallStatement | cst.FunctionDef) and "host" in _names_bound_by(one):
                    self.note(one, f"{node.name.value} has a host of its own", _RENAME)

    def _check_container(self, node: cst.ClassDef) -> None:
        for method in node.body.body:
            if isinstance(method, cst.FunctionDef) and method.name.value == "spawn_worker":
                given = method.params
                names = {one.name.value for one in (*given.params, *given.kwonly_params)}
                if "handle_result" in names or not (given.star_kwarg or names >= {"context_data", "message"}):
                    self.note(method, "spawn_worker is overridden", _SPAWN)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        """Look at a method."""
        if self._functions and not self._functions[-1]:
            self._check_method(node)
        self._functions.append(node.name.value)

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        """Leave it."""
        self._functions.pop()

    def _check_method(self, node: cst.FunctionDef) -> None:
        name = node.name.value
        parameters = [parameter.name.value for parameter in node.params.params]
        if name == "worker_result" and len(parameters) > 3:
            error = parameters[3]
            if error == "exc_info" or (self._extends and error != "error"):
                self.note(node, f"worker_result takes {error}, a triple with nameko", _RESULT)
        elif name == "handle_result" and self._extends:
            self.note(node, "handle_result is not called by us", _HANDLE)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        """Look at ``self.container``, ``self.host`` and ``ctx.container.config``."""
        name = get_full_name_for_node(node) or ""
        parent = self.get_metadata(ParentNodeProvider, node, None)
        if name.endswith(".container.config") and name.split(".")[-3] in _CONTEXTS and _is_as_mapping(node, parent):
            self.note(node, f"{name} is Settings, no mapping", "the mapping is ctx.config")
        if self._extends and name == "self.host":
            self._check_host(node, parent)
        if not self._extends or name != "self.container":
            return
        if isinstance(parent, cst.AssignTarget | cst.AnnAssign):
            return
        asked = parent.attr.value if isinstance(parent, cst.Attribute) and parent.value is node else ""
        if asked == "config":
            self.note(node, "self.container.config is Settings, no mapping", "the mapping is self.host.config.raw")
        elif not asked:
            self.note(
                node, "self.container is handed on", f"it is a Host, which has: config, {', '.join(sorted(HOST))}"
            )
        elif asked not in HOST:
            self.note(node, f"a Host has no {asked}", _HOST_HAS)

    def _check_host(self, node: cst.Attribute, parent: cst.CSTNode | None) -> None:
        asked = parent.attr.value if isinstance(parent, cst.Attribute) and parent.value is node else ""
        if self.get_metadata(ExpressionContextProvider, node, None) is ExpressionContext.STORE:
            self.note(node, "self.host is set", _RENAME)
        elif asked != "config" and asked not in HOST:
            self.note(node, "self.host is read", _RENAME)

    def visit_Call(self, node: cst.Call) -> None:
        """Look at calls in the bodies of methods."""
        function = (get_full_name_for_node(node.func) or "").split(".")
        if function[-1] == "spawn_worker":
            self._check_spawn(node)
        if function[-1] in _CHANGES and function[-2:-1] == ["data"] and function[-3:-2] and function[-3] in _CONTEXTS:
            self.note(node, "the context data is changed", _DATA)

    def _check_spawn(self, node: cst.Call) -> None:
        """Look at what is given to ``spawn_worker`` after the entrypoint and its two kinds of arguments."""
        keywords = {argument.keyword.value for argument in node.args if argument.keyword is not None}
        given = len([argument for argument in node.args if argument.keyword is None and not argument.star])
        if given > 4 or "handle_result" in keywords:
            self.note(node, "spawn_worker takes no handle_result", _HANDLE)
        if given > 3:
            self.note(node, "spawn_worker gets context_data by position", "name it: context_data=...")

    def visit_Assign(self, node: cst.Assign) -> None:
        """Look at what is kept on an extension, or in the context data."""
        for assigned in node.targets:
            self._check_assignment(assigned.target, node.value)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        """Look at what is kept on an extension."""
        if node.value is not None:
            self._check_assignment(node.target, node.value)

    def _check_assignment(self, target: cst.BaseExpression, value: cst.BaseExpression) -> None:
        if isinstance(target, cst.Subscript):
            owner = (get_full_name_for_node(target.value) or "").split(".")
            if owner[-1] == "data" and owner[-2:-1] and owner[-2] in _CONTEXTS:
                self.note(target, "the context data is changed", _DATA)
            return
        is_own = isinstance(target, cst.Attribute) and get_full_name_for_node(target.value) == "self"
        if is_own and self._extends and self._functions[-1] == "__init__" and _is_made_here(value):
            self.note(target, f"__init__ makes {get_full_name_for_node(target)}", _INIT)


def _names_bound_by(statement: cst.BaseSmallStatement | cst.FunctionDef) -> list[str]:
    """Give the names that a statement in the body of a class binds."""
    if isinstance(statement, cst.FunctionDef):
        return [statement.name.value]
    targets = [one.target for one in statement.targets] if isinstance(statement, cst.Assign) else []
    if isinstance(statement, cst.AnnAssign):
        targets.append(statement.target)
    return [name for target in targets if (name := get_full_name_for_node(target))]


def _is_as_mapping(node: cst.Attribute, parent: cst.CSTNode | None) -> bool:
    """Say whether an expression is used as only a mapping can be, or handed on."""
    return not isinstance(parent, cst.Attribute) or parent.value is not node or parent.attr.value in _MAPPING


def _is_made_here(value: cst.BaseExpression) -> bool:
    """Say whether a value is an object of its own that may be changed, and not one that was handed in."""
    if isinstance(value, cst.Dict | cst.List | cst.Set | cst.DictComp | cst.ListComp | cst.SetComp):
        return True
    if not isinstance(value, cst.Call):
        return False
    name = (get_full_name_for_node(value.func) or "").rpartition(".")[2]
    return name in _MAKERS or name[:1].isupper()
