"""What becomes of imports, and of what is written below them."""

from typing import NamedTuple

import libcst
import pytest
from rewritten import rewritten

from rpcservice.migrate.imports import parse, rewrite


class Case(NamedTuple):
    before: str
    after: str


CASES = {
    "a name that is the same": Case("from nameko.rpc import rpc\n", "from rpcservice import rpc\n"),
    "a name that is another one keeps standing for itself": Case(
        "from nameko.rpc import RpcProxy\nx = RpcProxy('a')\n",
        "from rpcservice import ServiceRpc as RpcProxy\nx = RpcProxy('a')\n",
    ),
    "an alias": Case("from nameko.rpc import RpcProxy as R\n", "from rpcservice import ServiceRpc as R\n"),
    "an alias that has become needless": Case(
        "from nameko.rpc import RpcProxy as ServiceRpc\n", "from rpcservice import ServiceRpc\n"
    ),
    "several names of one module": Case(
        "from nameko.rpc import rpc, RpcProxy as R  # both\n", "from rpcservice import rpc, ServiceRpc as R  # both\n"
    ),
    "names that are in several modules now": Case(
        "from nameko.testing.utils import get_extension, ResourcePipeline\n",
        "from rpcservice.testing import get_extension\n"
        "from rpcservice.compat.nameko.testing.utils import ResourcePipeline\n",
    ),
    "names of which one is not there": Case(
        "from nameko.rpc import Rpc, rpc\n", "from nameko.rpc import Rpc\nfrom rpcservice import rpc\n"
    ),
    "names of which none is there": Case("from nameko.rpc import Rpc\n", "from nameko.rpc import Rpc\n"),
    "an option of ours that has another name": Case(
        "from nameko.rpc import rpc\n@rpc(sensitive_variables='x')\ndef a(x): Mine(sensitive_variables=x)\n",
        "from rpcservice import rpc\n@rpc(sensitive_arguments='x')\ndef a(x): Mine(sensitive_variables=x)\n",
    ),
    "parentheses and comments": Case(
        "from nameko.events import (\n    event_handler,  # one\n    EventDispatcher,\n)\n",
        "from rpcservice import (\n    event_handler,  # one\n    EventDispatcher,\n)\n",
    ),
    "parentheses that are split": Case(
        "from nameko.standalone.rpc import (\n    ClusterRpcProxy,  # ours\n    PollingQueueConsumer,\n)\n",
        "from rpcservice.standalone import (\n    ClusterRpcClient as ClusterRpcProxy,  # ours\n)\n"
        "from nameko.standalone.rpc import (\n    PollingQueueConsumer,\n)\n",
    ),
    "a comment above": Case("# why\nfrom nameko.timer import timer\n", "# why\nfrom rpcservice import timer\n"),
    "an import within a function": Case(
        "def f():\n    from nameko.web.handlers import http\n    return http\n",
        "def f():\n    from rpcservice import http\n    return http\n",
    ),
    "an import for either version": Case(
        "try:\n    from nameko.rpc import ServiceRpc\n"
        "except ImportError:\n    from nameko.rpc import RpcProxy as ServiceRpc\n",
        "try:\n    from rpcservice import ServiceRpc\nexcept ImportError:\n    from rpcservice import ServiceRpc\n",
    ),
    "what is reached through a module": Case(
        "import nameko.rpc\nx = nameko.rpc.RpcProxy('a')\n", "import rpcservice\nx = rpcservice.ServiceRpc('a')\n"
    ),
    "what is reached through an alias of a module": Case(
        "import nameko.rpc as r\n\n@r.rpc\ndef f(): pass\n", "import rpcservice\n\n@rpcservice.rpc\ndef f(): pass\n"
    ),
    "what is reached through a module that is imported from another": Case(
        "from nameko.testing import services\nservices.worker_factory(A)\n",
        "import rpcservice.testing\nrpcservice.testing.worker_factory(A)\n",
    ),
    "several modules of one name": Case(
        "import nameko.rpc\nimport nameko.events\n\nnameko.rpc.rpc, nameko.events.BROADCAST\n",
        "import rpcservice\n\nrpcservice.rpc, rpcservice.BROADCAST\n",
    ),
    "a module that an earlier run has imported": Case(
        "import rpcservice\nimport nameko.rpc\n\nnameko.rpc.rpc\n", "import rpcservice\n\nrpcservice.rpc\n"
    ),
    "a module that is imported under another name": Case(
        "import rpcservice as r\nimport nameko.rpc\n\nnameko.rpc.rpc\n",
        "import rpcservice as r\nimport rpcservice\n\nrpcservice.rpc\n",
    ),
    "comments above a line that is needless now": Case(
        "import nameko.rpc\n# why\nimport nameko.events\n\nnameko.rpc.rpc\n",
        "import rpcservice\n# why\nimport rpcservice\n\nrpcservice.rpc\n",
    ),
    "a module beside others": Case(
        "import nameko.rpc, os\nnameko.rpc.rpc, os\n", "import rpcservice\nimport os\nrpcservice.rpc, os\n"
    ),
    "a module that is used as a whole stays": Case(
        "import nameko.rpc as r\nr.rpc\nprint(r)\n",
        "import nameko.rpc as r\nimport rpcservice\nrpcservice.rpc\nprint(r)\n",
    ),
    "a module that is used as a whole, and another": Case(
        "from nameko.testing import services, utils\nutils.get_extension, services\n",
        "import rpcservice.testing\nfrom nameko.testing import services\nrpcservice.testing.get_extension, services\n",
    ),
    "a module that is used as a whole within nameko": Case(
        "from nameko import events\nprint(events, events.BROADCAST)\n",
        "from nameko import events\nimport rpcservice\nprint(events, rpcservice.BROADCAST)\n",
    ),
    "a module that is not used": Case("import nameko.rpc\n", "import rpcservice\n"),
    "parentheses about what is reached": Case(
        "import nameko.rpc\n(nameko.rpc.rpc)\n", "import rpcservice\n(rpcservice.rpc)\n"
    ),
    "statements on one line": Case(
        "import nameko.rpc; x = 1; nameko.rpc.rpc\n", "import rpcservice; x = 1; rpcservice.rpc\n"
    ),
    "a suite on one line": Case(
        "if True: from nameko.rpc import rpc; rpc\n", "if True: from rpcservice import rpc; rpc\n"
    ),
    "a path that is patched": Case(
        'mock.patch("nameko.rpc.RpcProxy.get_dependency")\n', 'mock.patch("rpcservice.ServiceRpc.get_dependency")\n'
    ),
    "a path that a fixture sets": Case(
        "monkeypatch.setattr('nameko.testing.services.once', 1)\n",
        "monkeypatch.setattr('rpcservice.testing.once', 1)\n",
    ),
    "a path as a decorator": Case(
        "@patch('nameko.standalone.rpc.ClusterRpcProxy')\ndef f(): pass\n",
        "@patch('rpcservice.standalone.ClusterRpcClient')\ndef f(): pass\n",
    ),
    "a path that is no path to patch": Case("x = 'nameko.rpc.rpc'\n", "x = 'nameko.rpc.rpc'\n"),
    "a path that leads nowhere": Case("patch('nameko.rpc.Nope')\n", "patch('nameko.rpc.Nope')\n"),
    "another nameko": Case("from .nameko.rpc import rpc\n", "from .nameko.rpc import rpc\n"),
    "a name that only looks like it": Case("nameko = A()\nnameko.rpc.rpc\n", "nameko = A()\nnameko.rpc.rpc\n"),
    "everything of a module": Case("from nameko.rpc import *\n", "from nameko.rpc import *\n"),
    "Windows' line ends": Case("from nameko.rpc import rpc\r\nx = 1\r\n", "from rpcservice import rpc\r\nx = 1\r\n"),
    "nothing of nameko's": Case("x  =  1 # odd\n", "x  =  1 # odd\n"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_what_becomes_of(case: Case) -> None:
    assert rewritten(case.before) == case.after


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_second_time_changes_nothing(case: Case) -> None:
    assert rewritten(case.after) == case.after


def test_the_encoding_is_kept() -> None:
    before = "# -*- coding: latin-1 -*-\nfrom nameko.rpc import rpc\nx = 'ü'\n".encode("latin-1")
    assert rewrite(parse(before)) == before.replace(b"nameko.rpc", b"rpcservice")


def test_what_is_no_python_is_said() -> None:
    with pytest.raises(libcst.ParserSyntaxError):
        parse(b"from nameko.rpc import (\n")
