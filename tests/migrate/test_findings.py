"""What is left to a person, in Python code."""

from pathlib import Path
from textwrap import dedent

import pytest
from rewritten import rewritten

from rpcservice.migrate.findings import find
from rpcservice.migrate.imports import parse

CASES = {
    # Names
    "from nameko import config": ["1: nameko.config is imported, and not used"],
    "import nameko\nnameko.config['A']": ["2: nameko.config is used"],
    "from nameko import config\nprint(config['A'])": [
        "1: only drop-in mode has nameko.config",
        "2: nameko.config is used",
    ],
    "from nameko.rpc import Rpc, rpc": ["1: nameko.rpc.Rpc is imported, and not used"],
    "from nameko.rpc import Rpc as R\nR": ["1: only drop-in mode has nameko.rpc.Rpc"],
    "import nameko.rpc\nnameko.rpc.Rpc": ["2: only drop-in mode has nameko.rpc.Rpc"],
    "from nameko.cli.run import setup_backdoor as b\nb()": ["1: there is no nameko.cli.run.setup_backdoor"],
    "import nameko.rpc as r\nr.nothing": ["2: there is no nameko.rpc.nothing"],
    "import nameko.rpc as r\nprint(r)": ["2: the module nameko.rpc is used as a whole"],
    "import nameko.rpc\nnameko.rpc.rpc": [],
    "from nameko.rpc import *": ["1: from nameko.rpc import *"],
    "from nameko.nothing import a": ["1: nameko.nothing is not known"],
    "import nameko.nothing": ["1: nameko.nothing is not known"],
    "from nameko.utils.retry import retry": [
        "1: nameko.utils.retry.retry goes on working, from the compatibility layer"
    ],
    "import nameko.utils.retry as r\nr.retry": [
        "2: nameko.utils.retry.retry goes on working, from the compatibility layer"
    ],
    "import nameko_sqlalchemy": ["1: nameko_sqlalchemy is made for nameko, and imports it"],
    "from nameko_redis.x import y": ["1: nameko_redis is made for nameko, and imports it"],
    "from nameko_mine import y": [],
    "from .nameko.rpc import Rpc": [],
    # Texts
    "patch('nameko.rpc.Rpc')": ["1: 'nameko.rpc.Rpc' is patched"],
    "patch('nameko.rpc.rpc')": [],
    "logging.getLogger('nameko.containers')": ["1: the text 'nameko.containers' names nameko"],
    "pytest_plugins = ['nameko.testing.pytest']": ["1: the text 'nameko.testing.pytest' names nameko"],
    "x = 'we had nameko'": [],
    # Calls
    "from nameko.runners import run_services\nrun_services(config, A)": [
        "2: run_services gets the configuration first"
    ],
    "from nameko.runners import run_services\nrun_services({}, A)": ["2: run_services gets the configuration first"],
    "from nameko.runners import run_services\nrun_services(CONFIG, A)": [
        "2: run_services gets the configuration first"
    ],
    "from nameko.runners import run_services\nrun_services(A, shop.B, service_cls)": [],
    "from nameko.runners import run_services\nrun_services(*services)": [],
    "from nameko.runners import ServiceRunner\nServiceRunner()": ["2: ServiceRunner gets no configuration"],
    "from nameko.runners import ServiceRunner\nServiceRunner(config)": [],
    "from nameko.standalone.rpc import ClusterRpcProxy as C\nC()": ["2: ClusterRpcClient gets no configuration"],
    "from nameko.standalone.rpc import ClusterRpcProxy as C\nC(config, {})": [
        "2: ClusterRpcClient gets options by position"
    ],
    "from nameko.standalone.rpc import ClusterRpcProxy as C\nC(config), C(uri='x'), C(config=1), C(**x)": [],
    "from nameko.standalone.rpc import ServiceRpcProxy\nServiceRpcProxy('a')": [
        "2: ServiceRpcClient gets no configuration"
    ],
    "from nameko.standalone.rpc import ServiceRpcProxy\nServiceRpcProxy('a', config, {'x': 1})": [
        "2: ServiceRpcClient gets options by position"
    ],
    "from nameko.standalone.rpc import ServiceRpcProxy\nServiceRpcProxy('a', config, timeout=3)": [],
    "from nameko.standalone.events import event_dispatcher\nevent_dispatcher()": [
        "2: event_dispatcher gets no configuration"
    ],
    "from nameko.standalone.events import event_dispatcher\nevent_dispatcher(config)": [],
    "runner_factory(config, A)": ["1: runner_factory gets the configuration first"],
    "runner_factory(A, config=config)": [],
    "self.host.spawn_worker(self, (), {}, handle_result=f)": ["1: spawn_worker takes no handle_result"],
    "self.host.spawn_worker(self, (), {}, data)": ["1: spawn_worker gets context_data by position"],
    "self.host.spawn_worker(self, (), {}, data, f)": [
        "1: spawn_worker gets context_data by position",
        "1: spawn_worker takes no handle_result",
    ],
    "self.host.spawn_worker(self, (), {}, context_data=data)": [],
    "Mine(sensitive_variables='x')": ["1: sensitive_variables is nameko's"],
    "Mine(sensitive_arguments='x')": [],
    "for c in runner.containers: pass": ["1: runner.containers is a mapping"],
    "[c for c in self.runner.containers]": ["1: self.runner.containers is a mapping"],
    "list(runner.containers)": ["1: runner.containers is a mapping"],
    "runner.containers[0]": ["1: runner.containers is a mapping"],
    "for c in runner.containers.values(): runner.containers['a'], len(runner.containers)": [],
    "for c in pod.containers: pass": [],
    "use(worker_ctx.container.config['A'])": ["1: worker_ctx.container.config is Settings, no mapping"],
    "ctx.container.config.get('A')": ["1: ctx.container.config is Settings, no mapping"],
    "ctx.container.config.amqp_uri, worker_ctx.config['A']": [],
    # Fixtures
    "def test_it(rabbit_config, container_factory): pass": ["1: the fixture rabbit_config is nameko's"],
    "@pytest.fixture\ndef mine(web_session): pass": ["2: the fixture web_session is nameko's"],
    "def test_it(empty_config): pass": [],
    "def make(rabbit_config): pass": [],
}
OWN = ("nameko_mine", "empty_config")


def told(code: str) -> list[str]:
    """Give the findings of some code as texts, without the path and the mend."""
    found = find(parse(code.encode()), Path("test_a.py"), OWN)
    assert all(finding.mend for finding in found)
    return [str(finding).removeprefix("test_a.py:") for finding in found]


@pytest.mark.parametrize("code", CASES)
def test_it_finds(code: str) -> None:
    assert told(code) == CASES[code]


@pytest.mark.parametrize("code", CASES)
def test_it_finds_the_same_once_the_code_is_rewritten(code: str) -> None:
    """What a person has not yet seen to is told again, the next time."""
    what = [line.partition(": ")[2] for line in CASES[code]]
    assert [line.partition(": ")[2] for line in told(rewritten(code))] == what


EXTENSION = """
from nameko.extensions import {base}

class Mixed(object):
    pass

class Theirs(Mixed, {base}):
{body}
class Below(Theirs):
{body}
class Other:
{body}
"""

BODIES = {
    "def worker_result(self, ctx, res, exc_info=None): pass": "worker_result takes exc_info, a triple with nameko",
    "def worker_result(self, ctx, res, exc): pass": "worker_result takes exc, a triple with nameko",
    "def worker_result(self, ctx, result=None, error=None): pass": None,
    "def handle_result(self, message, ctx, result, exc_info): pass": "handle_result is not called by us",
    "def setup(self): self.container.config['A']": "self.container.config is Settings, no mapping",
    "def setup(self): self.container.worker_pool": "a Host has no worker_pool",
    "def setup(self): use(self.container)": "self.container is handed on",
    "def setup(self): self.container.service_name": None,
    "def setup(self): self.container = 1": None,
    "def setup(self): container.config": None,
    "def __init__(self): self.known = {}": "__init__ makes self.known",
    "def __init__(self): self.known: dict = WeakKeyDictionary()": "__init__ makes self.known",
    "def __init__(self): self.known = [x for x in y]": "__init__ makes self.known",
    "def __init__(self, x=None): self.x = x or 3": None,
    "def __init__(self, **kw): self.x = kw.pop('x', None)": None,
    "def setup(self): self.known = {}": None,
    "def __init__(self, host): self.host = host": "self.host is set",
    "def __init__(self, at): self.host, self.port = at": "self.host is set",
    "def setup(self): connect(self.host)": "self.host is read",
    "def setup(self): self.host.upper()": "self.host is read",
    "def setup(self): self.host.spawn_worker(self, (), {})": None,
    "def setup(self): self.host.config.raw['A']": None,
    "def setup(self, host): self.hosts = host": None,
    "def host(self): return 'db'": "{name} has a host of its own",
    "host = 'db'": "{name} has a host of its own",
    "host: str = 'db'": "{name} has a host of its own",
    "port = 1": None,
}


@pytest.mark.parametrize("base", ["DependencyProvider", "Entrypoint", "SharedExtension", "Extension"])
@pytest.mark.parametrize("body", BODIES)
def test_in_extensions_it_finds(body: str, base: str) -> None:
    code = EXTENSION.format(base=base, body=f"    {body}")
    for version in (code, rewritten(code)):
        what = BODIES[body]
        lines = [] if what is None else [f"8: {what.format(name='Theirs')}", f"10: {what.format(name='Below')}"]
        if "exc_info=None" in body:  # A mixin may be one of a provider in another module.
            lines.append(f"12: {what}")
        assert told(version) == lines


@pytest.mark.parametrize(
    "line", ["worker_ctx.data['x'] = 1", "ctx.data.update(x=1)", "context.data.setdefault('x', 1)", "ctx.data.pop('x')"]
)
def test_changes_of_the_context_data_are_found(line: str) -> None:
    assert told(f"def worker_setup(self, worker_ctx):\n    {line}") == ["2: the context data is changed"]


def test_other_data_may_be_changed() -> None:
    assert told("self.data['x'] = 1\nrequest.data.update(x=1)\nctx.context_data['x'] = 1") == []


def test_a_method_within_a_method_is_none_of_the_extension() -> None:
    code = """
        from nameko.extensions import Extension
        class Mine(Extension):
            def setup(self):
                def handle_result(message): pass
    """
    assert told(dedent(code)) == []


CONTAINER = """
from nameko.containers import ServiceContainer
class Mine(ServiceContainer):
    def spawn_worker(self, entrypoint, args, kwargs, {rest}): pass
"""


@pytest.mark.parametrize(
    ("rest", "is_found"),
    [
        ("context_data=None, handle_result=None", True),
        ("*rest", True),
        ("handle_result=None, **options", True),
        ("**options", False),
        ("*, context_data=None, message=None", False),
    ],
)
def test_a_container_that_spawns_workers_otherwise_is_found(rest: str, is_found: bool) -> None:
    """Ours is called with other arguments than nameko's."""
    code = CONTAINER.format(rest=rest)
    for version in (code, rewritten(code)):
        assert told(version) == (["4: spawn_worker is overridden"] if is_found else [])


CONFIGURED = """
from nameko.dependency_providers import Config
class Service:
    config = settings = Config()
    other = {{}}
    def method(self):
        {line}
"""


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("self.config['A'] = 1", "self.config"),
        ("self.settings['A'] += 1", "self.settings"),
        ("del self.config['A']", "self.config"),
        ("self.config.update(a=1)", "self.config"),
        ("self.other['A'] = self.config['A']", None),
        ("dict(self.config).update(a=1)", None),
    ],
)
def test_changes_of_an_injected_configuration_are_found(line: str, changed: str | None) -> None:
    """Ours is read-only."""
    code = CONFIGURED.format(line=line)
    for version in (code, rewritten(code)):
        assert told(version) == ([f"7: {changed} is changed"] if changed else [])
