"""What a running service has imported: what it uses, before its first call."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import Running

from rpcservice import ClusterRpcClient, event_dispatcher

pytestmark = pytest.mark.broker

Start = Callable[..., Running]

SERVICE = """
import signal
import sys
from itertools import count

from rpcservice import event_handler, rpc

_times = count(1)
signal.signal(signal.SIGUSR1, lambda *_: print(f"{next(_times)}:", *sys.modules, flush=True))


class Plain:
    name = "plain"

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"

    @event_handler("shop", "sold")
    def handle(self, payload):
        print("handled", payload, flush=True)
"""

FOREIGN = {
    "click.shell_completion",
    "code",
    "cryptography",
    "dns",
    "multiprocessing.spawn",
    "psycopg2",
    "pytest",
    "redis",
    "sqlalchemy",
    "sqlite3",
    "tenacity",
    "tomllib",
    "unittest",
    "werkzeug",
    "wsproto",
}
"""Modules that belong to features that this service does not use, or to nobody."""
OWN = {
    "aio",
    "amqp.channellink",
    "amqp.clients",
    "amqp.graveyard",
    "amqp.kombuchannel",
    "amqp.memory",
    "amqp.replies",
    "cli.backdoor",
    "cli.call",
    "cli.dead_letters",
    "cli.emit",
    "cli.migrate",
    "cli.shell",
    "cli.show_config",
    "cli.test",
    "compat",
    "concurrency.processes",
    "migrate",
    "offload",
    "reliability",
    "standalone",
    "supervisor.supervisor",
    "testing",
    "timers",
    "web",
}
"""The same of rpcservice's own."""


class Service:
    """A service that tells what it has imported."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._asked = 0
        self.wait_for = running.wait_for

    def modules(self) -> set[str]:
        """Give the names of all modules in it."""
        self._asked += 1
        self._running.process.send_signal(signal.SIGUSR1)
        return set(self.wait_for(f"{self._asked}: ").split()[1:])


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Without coverage, which imports more."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}


@pytest.fixture
def service(start: Start, folder: Path, rabbitmq_uri: str) -> Service:
    (folder / "plain.py").write_text(SERVICE)
    running = start("run", "plain.py", "--broker", rabbitmq_uri)
    running.wait_for("Ctrl-C stops.")
    return Service(running)


def test_what_belongs_to_features_that_are_not_used_is_not_imported(service: Service) -> None:
    loaded = service.modules()
    unused = FOREIGN | {f"rpcservice.{name}" for name in OWN}
    assert {name for name in loaded if any(f"{name}.".startswith(f"{one}.") for one in unused)} == set()


def test_the_first_call_and_the_first_event_import_nothing(service: Service, rabbitmq_uri: str) -> None:
    """An import keeps everybody waiting, and is paid for at the start."""
    before = service.modules()
    config = {"AMQP_URI": rabbitmq_uri}
    with ClusterRpcClient(config) as rpc:
        assert rpc.plain.hello("world") == "Hello, world!"
    with event_dispatcher(config) as dispatch:
        dispatch("shop", "sold", {"sku": "one"})
    service.wait_for("handled")
    assert service.modules() - before == set()
