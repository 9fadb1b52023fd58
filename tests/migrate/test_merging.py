"""Imports of several of nameko's modules become one of ours."""

from textwrap import dedent

import pytest
from rewritten import rewritten

CASES = {
    "lines below each other": (
        "from nameko.rpc import rpc\nfrom nameko.events import event_handler\n",
        "from rpcservice import event_handler, rpc\n",
    ),
    "constants first, then classes": (
        "from nameko.rpc import rpc, RpcProxy\nfrom nameko.events import BROADCAST, EventDispatcher\n",
        "from rpcservice import BROADCAST, EventDispatcher, ServiceRpc as RpcProxy, rpc\n",
    ),
    "lines with other imports between": (
        "from nameko.events import event_handler\nimport os\n\nfrom shop import x\nfrom nameko.rpc import rpc\n",
        "from rpcservice import event_handler, rpc\nimport os\n\nfrom shop import x\n",
    ),
    "a blank line below what goes stays": (
        "from nameko.events import event_handler\n\nfrom nameko.rpc import rpc\nimport os\n",
        "from rpcservice import event_handler, rpc\n\nimport os\n",
    ),
    "several modules of ours": (
        "from nameko.rpc import rpc\nfrom nameko.testing.services import once\nfrom nameko.timer import timer\n"
        "from nameko.testing.utils import get_extension\n",
        "from rpcservice import rpc, timer\nfrom rpcservice.testing import get_extension, once\n",
    ),
    "the same name twice": (
        "from nameko.testing.services import get_extension, once\nfrom nameko.testing.utils import get_extension\n",
        "from rpcservice.testing import get_extension, once\n",
    ),
    "one thing by two names": (
        "from nameko.rpc import RpcProxy\nfrom nameko.rpc import ServiceRpc, rpc\n",
        "from rpcservice import ServiceRpc, ServiceRpc as RpcProxy, rpc\n",
    ),
    "a long line": (
        "from nameko.events import BROADCAST, SERVICE_POOL, EventDispatcher, event_handler\n"
        "from nameko.rpc import rpc\nfrom nameko.timer import timer\n",
        "from rpcservice import (\n    BROADCAST,\n    SERVICE_POOL,\n    EventDispatcher,\n    event_handler,\n"
        "    rpc,\n    timer,\n)\n",
    ),
    "names on lines of their own": (
        "from nameko.rpc import (\n    rpc,\n)\nfrom nameko.timer import timer\n",
        "from rpcservice import (\n    rpc,\n    timer,\n)\n",
    ),
    "names within parentheses": (
        "from nameko.rpc import (rpc)\nfrom nameko.timer import (timer,)\n",
        "from rpcservice import rpc, timer\n",
    ),
    "within a function, with tabs": (
        "def f():\n\tfrom nameko.rpc import rpc\n\tfrom nameko.timer import (\n\t\ttimer,\n\t)\n\treturn rpc\n",
        "def f():\n\tfrom rpcservice import (\n\t\trpc,\n\t\ttimer,\n\t)\n\treturn rpc\n",
    ),
    "within try": (
        "try:\n    from nameko.rpc import rpc\n    from nameko.timer import timer\nexcept ImportError:\n"
        "    from nameko.timer import timer\n",
        "try:\n    from rpcservice import rpc, timer\nexcept ImportError:\n    from rpcservice import timer\n",
    ),
    "within if TYPE_CHECKING": (
        "if TYPE_CHECKING:\n    from nameko.containers import ServiceContainer\n    from nameko.rpc import RpcProxy\n",
        "if TYPE_CHECKING:\n    from rpcservice import ServiceContainer, ServiceRpc as RpcProxy\n",
    ),
    "Windows' line ends": (
        "from nameko.rpc import (\r\n    rpc\r\n)\r\nfrom nameko.timer import timer\r\n",
        "from rpcservice import (\r\n    rpc,\r\n    timer,\r\n)\r\n",
    ),
    "a comment above the first line": (
        "# why\nfrom nameko.rpc import rpc\nfrom nameko.timer import timer\n",
        "# why\nfrom rpcservice import rpc, timer\n",
    ),
    "a comment on the first line": (
        "from nameko.rpc import rpc  # noqa\nfrom nameko.timer import timer\nfrom nameko.events import BROADCAST\n",
        "from rpcservice import rpc  # noqa\nfrom rpcservice import BROADCAST, timer\n",
    ),
    "a comment above the second line": (
        "from nameko.rpc import rpc\n# why\nfrom nameko.timer import timer\n",
        "from rpcservice import rpc\n# why\nfrom rpcservice import timer\n",
    ),
    "a comment among the names": (
        "from nameko.rpc import rpc\nfrom nameko.timer import (\n    # why\n    timer,\n)\n",
        "from rpcservice import rpc\nfrom rpcservice import (\n    # why\n    timer,\n)\n",
    ),
    "a statement between": (
        "from nameko.rpc import rpc\nx = 1\nfrom nameko.timer import timer\n",
        "from rpcservice import rpc\nx = 1\nfrom rpcservice import timer\n",
    ),
    "two statements on a line between": (
        "from nameko.rpc import rpc\nimport a; import b\nfrom nameko.timer import timer\n",
        "from rpcservice import rpc\nimport a; import b\nfrom rpcservice import timer\n",
    ),
    "a name that means two things": (
        "from nameko.rpc import rpc\nfrom nameko.web.websocket import rpc\n",
        "from rpcservice import rpc\nfrom rpcservice import websocket_rpc as rpc\n",
    ),
    "a name that is another one between": (
        "from nameko.rpc import rpc\nfrom mine import timer\nfrom nameko.timer import timer\n",
        "from rpcservice import rpc\nfrom mine import timer\nfrom rpcservice import timer\n",
    ),
    "names that nobody knows between": (
        "from nameko.rpc import rpc\nfrom mine import *\nfrom nameko.timer import timer\n",
        "from rpcservice import rpc\nfrom mine import *\nfrom rpcservice import timer\n",
    ),
    "what the user wrote": (
        "from rpcservice import timer\nfrom rpcservice import http\nfrom nameko.rpc import rpc\n",
        "from rpcservice import timer\nfrom rpcservice import http\nfrom rpcservice import rpc\n",
    ),
    "what stays with nameko": (
        "from nameko.rpc import rpc, Rpc\nfrom nameko.timer import timer, Timer\n",
        "from rpcservice import rpc, timer\nfrom nameko.rpc import Rpc\nfrom nameko.timer import Timer\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=list(CASES))
def test_what_becomes_of_imports_with(before: str, after: str) -> None:
    assert rewritten(before) == after


@pytest.mark.parametrize("after", [after for _, after in CASES.values()], ids=list(CASES))
def test_what_has_become_of_them_compiles_and_stays(after: str) -> None:
    compile(after, "after", "exec")
    assert rewritten(after) == after


def test_in_a_nested_block_the_indentation_counts() -> None:
    """It is part of the line."""
    imports = (
        "from nameko.events import BROADCAST, SERVICE_POOL, EventDispatcher\nfrom nameko.rpc import rpc, RpcCall\n"
    )
    flat = "from rpcservice import BROADCAST, SERVICE_POOL, EventDispatcher, RpcCall, rpc\n"
    assert rewritten(imports) == flat
    nested = "def f():\n    if x:\n        if y:\n            if z:\n                " + imports.replace(
        "\nfrom", f"\n{' ' * 16}from"
    )
    deep = dedent(rewritten(nested).partition("if z:\n")[2])
    assert deep == (
        "from rpcservice import (\n    BROADCAST,\n    SERVICE_POOL,\n    EventDispatcher,\n    RpcCall,\n    rpc,\n)\n"
    )
