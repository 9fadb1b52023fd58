"""Who is measured: each peer's packages, the commands of its services and clients, and its form of a message."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.catalogue import Scenario

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = "rpcservice"
MAX_WORKERS = 50
"""Workers a service, and so its prefetch: the same for all, enough for every call in flight."""


@dataclass(frozen=True)
class Request:
    """One call as bytes on the wire."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A framework to measure.

    Args:
        name: Its name.
        package: The distribution whose version it is known by.
        requirements: What to install in an environment of its own; nothing for the libraries below rpcservice, which
            are here already.
        python: The version of Python that it needs, or "" for the one that runs the benchmark.
        libraries: Further distributions whose versions matter.
        label: What tables call it; its name where nothing else is said.
        scenarios: The scenarios that it takes part in; all that are not for others alone when empty.
        is_floor: Whether it is no framework, but the bare library below them: the bound to come near to.
        is_script: Whether its service is a program of its own, for there is no command that runs services.
        web_role: The role of the service that answers HTTP.
        program: The stem of its files where that is not its name.
    """

    name: str
    package: str
    requirements: tuple[str, ...] = ()
    python: str = ""
    libraries: tuple[str, ...] = ()
    label: str = ""
    scenarios: tuple[str, ...] = ()
    is_floor: bool = False
    is_script: bool = False
    web_role: str = "main"
    program: str = ""

    @property
    def stem(self) -> str:
        """The stem of its files in ``services`` and ``clients``."""
        return self.program or self.name

    @property
    def is_ours(self) -> bool:
        """Whether it is rpcservice, however it is installed."""
        return self.package == OURS

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.label or self.name

    def takes_part_in(self, scenario: Scenario) -> bool:
        """Whether it is measured in a scenario."""
        if scenario.only:
            return self.name in scenario.only
        return not self.scenarios or scenario.name in self.scenarios

    @property
    def service(self) -> str:
        """The name of its measured service."""
        return f"bench_{self.name}"

    @property
    def event_queue(self) -> str:
        """The queue from which its measured service takes events."""
        if self.name == "faststream" or self.is_script:
            return f"evt-{self.service}.count"
        return f"evt-bench_source_{self.name}-counted--{self.service}.count"

    def service_name(self, role: str, number: int = 0) -> str:
        """Give the name of a service: the one of "main", or one of "many" or "workers"."""
        return self.service if role == "main" else f"{role}_{self.name}_{number}"

    def interpreter(self) -> Path:
        """Give the Python of its environment."""
        if not self.requirements:
            return Path(sys.executable)
        return ROOT / f".venv-bench-{self.name}" / "bin" / "python"

    def service_command(self, role: str, folder: Path, uri: str, web_port: int) -> tuple[list[str], dict[str, str]]:
        """Give the command that runs a service, and its environment, as the peer's documentation says.

        Args:
            role: "main", "http" or "many", or "workers-2" for two processes of the same services.
            folder: Where a config file may be written.
            uri: The broker.
            web_port: Where to listen for HTTP.
        """
        if self.name == "faststream":
            return self._faststream_command(role, uri, web_port)
        if self.is_script:
            env = {"BENCH_AMQP_URI": uri, "BENCH_MAX_WORKERS": str(MAX_WORKERS), "BENCH_WEB_PORT": str(web_port)}
            return [str(self.interpreter()), str(HERE / "services" / f"{self.name}_service.py")], env
        kind, _, workers = role.partition("-")
        module = f"{self.stem}_{'service' if kind in ('main', 'http') else kind}"
        config = folder / f"{module}.yaml"
        # JSON is YAML too.
        config.write_text(
            json.dumps(
                {"AMQP_URI": uri, "WEB_SERVER_ADDRESS": f"127.0.0.1:{web_port}", "max_workers": MAX_WORKERS},
            )
        )
        options = ["--workers", workers] if workers else []
        command = [str(self.interpreter().parent / self.stem), "run", *options, "--config", str(config), module]
        return command, {"BENCH_SERVICE": self.service}

    def client_command(self, script: str, plan: Mapping[str, Any]) -> list[str]:
        """Give the command that runs one of its clients with a plan."""
        return [str(self.interpreter()), str(HERE / "clients" / f"{self.stem}_{script}.py"), json.dumps(plan)]

    def request(self, service: str, method: str, argument: str) -> Request:
        """Give a call in the peer's form; its reply holds the answer as text."""
        if self.name == "faststream":
            return Request("", f"{service}.{method}", json.dumps(argument).encode())
        if self.is_script:
            return Request("", f"{service}.{method}", json.dumps({"name": argument}).encode())
        body = json.dumps({"args": [argument], "kwargs": {}}).encode()
        return Request("nameko-rpc", f"{service}.{method}", body, {"nameko.call_id_stack": ["probe.call.0"]})

    def _faststream_command(self, role: str, uri: str, web_port: int) -> tuple[list[str], dict[str, str]]:
        env = {"BENCH_AMQP_URI": uri, "BENCH_MAX_WORKERS": str(MAX_WORKERS)}
        scripts = self.interpreter().parent
        if role == "http":
            options = ["--host", "127.0.0.1", "--port", str(web_port), "--no-access-log"]
            return [str(scripts / "uvicorn"), "faststream_http:app", *options], env
        module = f"faststream_{'many' if role == 'many' else 'service'}"
        return [str(scripts / "faststream"), "run", f"{module}:app"], env


_RPC_AND_EVENTS = ("rpc-sequential", "rpc-50", "rpc-50-10kb", "events-handled")

PEERS: tuple[Peer, ...] = (
    Peer(
        OURS,
        OURS,
        requirements=("--editable", "."),
        libraries=("kombu", "amqp", "eventlet", "greenlet", "werkzeug"),
    ),
    Peer(
        "rpcservice-fast",
        OURS,
        requirements=("--editable", ".[fast]"),
        libraries=("orjson", "msgspec"),
        label="rpcservice[fast]",
        scenarios=("rpc-50", "rpc-50-10kb"),
        program=OURS,
    ),
    Peer(
        "nameko",
        "nameko",
        requirements=("nameko==2.14.1", "kombu==5.7.0", "amqp==5.4.2", "setuptools<81"),
        python="3.11",
        libraries=("kombu", "amqp", "eventlet", "greenlet", "werkzeug"),
    ),
    Peer(
        "faststream",
        "faststream",
        requirements=("faststream[rabbit,cli]==0.7.8", "fastapi", "uvicorn[standard]"),
        libraries=("aio-pika", "aiormq", "fastapi", "uvicorn", "uvloop"),
        label="FastStream",
        web_role="http",
    ),
    Peer(
        "aiopika",
        "aio-pika",
        requirements=("aio-pika==10.2.1", "uvloop"),
        libraries=("aiormq", "uvloop"),
        label="aio-pika",
        scenarios=(*_RPC_AND_EVENTS, "publish-sequential", "publish-50", "publish-50-stored"),
        is_script=True,
    ),
    Peer("pyamqp", "amqp", label="raw py-amqp", scenarios=_RPC_AND_EVENTS, is_floor=True, is_script=True),
    Peer(
        "wsgi",
        "eventlet",
        libraries=("greenlet",),
        label="bare eventlet.wsgi",
        scenarios=("http",),
        is_floor=True,
        is_script=True,
        web_role="http",
    ),
)


def title_of(name: str) -> str:
    """Give what tables call a peer."""
    return next(peer.title for peer in PEERS if peer.name == name)


def choose_peers(names: Sequence[str]) -> list[Peer]:
    """Give the named peers, rpcservice first; all of them for no names.

    Raises:
        ValueError: There is no peer of that name.
    """
    known = [peer.name for peer in PEERS]
    for name in names:
        if name not in known:
            raise ValueError(f"no peer {name!r}; there are: {', '.join(known)}")
    return [peer for peer in PEERS if not names or peer.name in names]
