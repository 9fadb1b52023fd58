"""Carries out one scenario with one peer and gives its figures."""

import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.catalogue import Scenario
from benchmarks.clients.pyamqp_wire import broker_port
from benchmarks.peers import HERE, MAX_WORKERS, Peer, Request
from benchmarks.probe import Probe, ProbeFailed
from benchmarks.processes import Child, ChildFailed, connections_to, cpu_seconds, rss_megabytes

WARMUP = 0.3
GREETING = "Hello, world!"
EVENTS_PER_SECOND = 10_000
"""Events of one flood for each second that a measurement is to last."""
MANY_SERVICES = 20
IDLE = 0.5
"""Seconds after the first answer, in which a service that still has something to do at its start does it."""
_START_LIMIT = 15.0
_CLIENT_LIMIT = 20.0
_STOP_LIMIT = 10.0

Figures = dict[str, float]


class ToolMissing(Exception):
    """Raised when a program that a scenario needs is not installed; the message says what to install."""


@dataclass
class Bench:
    """What all measurements share: the broker, the services that stay up, and the measure of time.

    Args:
        uri: The broker.
        seconds: How long one measurement lasts.
        folder: For logs and config files.
        broker_pid: The broker's process, where it is ours to look at.
    """

    uri: str
    seconds: float
    folder: Path
    broker_pid: int | None = None
    services: dict[tuple[str, str], "Service"] = field(default_factory=dict)

    def service(self, peer: Peer, role: str) -> "Service":
        """Give a peer's service that stays up, started on first use, started again when it has died."""
        if role == "http":
            role = peer.web_role
        service = self.services.get((peer.name, role))
        if service is None or not service.child.is_running:
            service = self.services[peer.name, role] = start_service(self, peer, role)
            if role == "main":
                with Probe(self.uri) as probe:
                    first_answers(probe, service, [peer.request(peer.service, "hello", "world")])
        return service

    def stop_service(self, peer: Peer, role: str) -> None:
        """Stop a service that stayed up; one that dawdles is killed."""
        service = self.services.pop((peer.name, role), None)
        if service is not None:
            service.child.stop(2)

    def close(self) -> None:
        """Stop all services."""
        for service in self.services.values():
            service.child.send_signal(signal.SIGTERM)
        for service in self.services.values():
            service.child.stop(2)
        self.services.clear()

    def broker_cpu(self) -> float | None:
        """Give the broker's processor time, where the broker is ours."""
        return cpu_seconds(self.broker_pid) if self.broker_pid is not None else None

    def spawn(self, command: list[str], name: str, env: dict[str, str]) -> Child:
        """Start a child with its own log."""
        path = f"{HERE / 'services'}:{HERE / 'clients'}"
        env = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **env}
        return Child(command, log=self.folder / f"{name}.log", env=env, cwd=self.folder)


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    child: Child
    web_port: int


def measure(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Carry out a scenario with a peer.

    Raises:
        ChildFailed: A service or client failed.
        ToolMissing: A program is missing.
    """
    return _MEASURES[scenario.name](bench, scenario, peer)


def start_service(bench: Bench, peer: Peer, role: str) -> Service:
    """Start a service; gives control back at once."""
    web_port = free_port()
    command, env = peer.service_command(role, bench.folder, bench.uri, web_port)
    return Service(bench.spawn(command, f"{peer.name}-{role}", env), web_port)


def first_answers(probe: Probe, service: Service, calls: list[Request]) -> None:
    """Call a service until each call is answered with the greeting.

    Raises:
        ChildFailed: An answer is missing or wrong.
    """
    try:
        probe.first_answers(calls, GREETING, limit=_START_LIMIT, is_running=lambda: service.child.is_running)
    except ProbeFailed as exc:
        raise ChildFailed(f"{exc}; {service.child.log_tail()}") from exc


def free_port() -> int:
    """Give a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure_startup(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Time a fresh process of the main service, from the command to the first answered call; its memory when idle."""
    bench.stop_service(peer, "main")
    with Probe(bench.uri) as probe:
        service = start_service(bench, peer, "main")
        bench.services[peer.name, "main"] = service
        first_answers(probe, service, [peer.request(peer.service, "hello", "world")])
        taken = time.perf_counter() - service.child.started
    time.sleep(IDLE)
    return {"start": taken * 1e3, "RSS": rss_megabytes(service.child.pid)}


def measure_rpc(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Have the client call; CPU of all three sides."""
    service = bench.service(peer, scenario.role)
    report, service_cpu, broker_cpu = run_client(bench, scenario, peer, service)
    figures = {
        "calls": report["count"] / report["seconds"],
        "p50": report["p50"] * 1e3,
        "p99": report["p99"] * 1e3,
        "service CPU": service_cpu / report["count"] * 1e6,
        "client CPU": report["cpu"] / report["count"] * 1e6,
        "service + client CPU": (service_cpu + report["cpu"]) / report["count"] * 1e6,
        "RSS": rss_megabytes(service.child.pid),
    }
    if broker_cpu is not None:
        figures["broker CPU"] = broker_cpu / report["count"] * 1e6
    return only(scenario, figures)


def measure_publish(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Have the client publish, to nobody or into a durable queue, which must then hold every confirmed event."""
    with Probe(bench.uri) as probe:
        probe.make_source(peer)
        queue = probe.make_sink(peer) if scenario.is_stored else None
        try:
            report, _, _ = run_client(bench, scenario, peer, None)
        finally:
            arrived = probe.drop_queue(queue) if queue else None
    if arrived is not None and arrived < report["count"]:
        raise ChildFailed(f"{report['count']} events were confirmed, only {arrived} arrived")
    return {
        "events": report["count"] / report["seconds"],
        "client CPU": report["cpu"] / report["count"] * 1e6,
    }


def measure_events(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Fill the queue while the service is halted, let it go on, and time it."""
    service = bench.service(peer, scenario.role)
    count = int(EVENTS_PER_SECOND * bench.seconds)
    # Who answers calls need not have bound its events yet.
    wait_for_consumers(bench, service, [peer.event_queue], 1)
    service.child.send_signal(signal.SIGSTOP)
    try:
        with Probe(bench.uri) as probe:
            probe.flood(peer, count)
    finally:
        service.child.send_signal(signal.SIGCONT)
    report = service.child.report("events", _CLIENT_LIMIT + bench.seconds * 30)
    return {"events": report["count"] / report["seconds"], "service CPU": report["cpu"] / report["count"] * 1e6}


def measure_http(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Have wrk ask for the greeting."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise ToolMissing("HTTP is left out, for wrk is not installed; as root, run: apt-get install -y wrk")
    service = bench.service(peer, scenario.role)
    url = f"http://127.0.0.1:{service.web_port}/hello/world"
    wait_for_greeting(url, _START_LIMIT, service.child)
    seconds = max(1, round(bench.seconds))
    before = cpu_seconds(service.child.pid)
    done = subprocess.run(
        [wrk, "-t1", "-c16", f"-d{seconds}s", "--latency", url],
        capture_output=True,
        text=True,
        timeout=seconds + _CLIENT_LIMIT,
        check=False,
    )
    cpu = cpu_seconds(service.child.pid) - before
    figures = parse_wrk(done.stdout)
    return {
        "requests": figures["requests"] / figures["seconds"],
        "p99": figures["p99"],
        "service CPU": cpu / figures["requests"] * 1e6,
    }


def measure_many(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Start 20 services in one process, have each call and dispatch, count connections, and stop them."""
    service = start_service(bench, peer, "many")
    try:
        with Probe(bench.uri) as probe:
            names = [peer.service_name("many", number) for number in range(MANY_SERVICES)]
            first_answers(probe, service, [peer.request(name, "hello", "world") for name in names])
            started = time.perf_counter() - service.child.started
            relays = [peer.request(name, "relay", "world") for name in names]
            for _ in range(3):
                first_answers(probe, service, relays)
        figures = {
            "AMQP connections": float(connections_to(service.child.pid, broker_port(bench.uri))),
            "start": started * 1e3,
            "RSS": rss_megabytes(service.child.pid),
        }
    finally:
        stopped = service.child.stop(_STOP_LIMIT)
    return {**figures, "stop": (stopped if stopped is not None else _STOP_LIMIT) * 1e3}


def measure_inside(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Have one process call a service of its own, first one by one, then many at once."""
    child = spawn_client(bench, scenario, peer)
    try:
        limit = _CLIENT_LIMIT + bench.seconds
        alone, together = child.report("end", limit), child.report("end", limit)
    finally:
        child.stop()
    return {"p50": alone["p50"] * 1e3, "calls": together["count"] / together["seconds"]}


def measure_workers(bench: Bench, scenario: Scenario, peer: Peer) -> Figures:
    """Have the client call the same services on one worker and on two: what they compute for, and what is short."""
    names = {"short": peer.service_name("workers", 0), "busy": peer.service_name("workers", 1)}
    rates: Figures = {}
    for count in (1, 2):
        service = start_service(bench, peer, f"workers-{count}")
        try:
            wait_for_consumers(bench, service, [f"rpc-{name}" for name in names.values()], count)
            for kind, name in names.items():
                report, _, _ = run_client(bench, scenario, peer, service, name)
                rates[f"{kind} calls, {count} worker{'s' if count > 1 else ''}"] = report["count"] / report["seconds"]
        finally:
            service.child.stop(_STOP_LIMIT)
    growth = {f"{kind} growth": rates[f"{kind} calls, 2 workers"] / rates[f"{kind} calls, 1 worker"] for kind in names}
    return {**rates, **growth}


def wait_for_consumers(bench: Bench, service: Service, queues: list[str], count: int) -> None:
    """Wait until each queue has that many consumers.

    Raises:
        ChildFailed: One has not in time.
    """
    with Probe(bench.uri) as probe:
        try:
            for queue in queues:
                probe.wait_for_consumers(queue, count, _START_LIMIT)
        except ProbeFailed as exc:
            raise ChildFailed(f"{exc}; {service.child.log_tail()}") from exc


def run_client(
    bench: Bench, scenario: Scenario, peer: Peer, service: Service | None, called: str = ""
) -> tuple[dict[str, Any], float, float | None]:
    """Run a client through its plan; gives its report and what the service and the broker used meanwhile.

    Args:
        bench: The bench.
        scenario: The scenario.
        peer: Whose client it is.
        service: The process whose processor time counts.
        called: The service to call; the peer's main one for "".
    """
    child = spawn_client(bench, scenario, peer, called)
    try:
        child.report("begin", _CLIENT_LIMIT)
        service_cpu = cpu_seconds(service.child.pid) if service else 0.0
        broker_cpu = bench.broker_cpu()
        report = child.report("end", _CLIENT_LIMIT + bench.seconds)
        if service:
            service_cpu = cpu_seconds(service.child.pid) - service_cpu
        after = bench.broker_cpu()
    finally:
        child.stop(3)
    return report, service_cpu, None if broker_cpu is None or after is None else after - broker_cpu


def spawn_client(bench: Bench, scenario: Scenario, peer: Peer, called: str = "") -> Child:
    """Start the client of a scenario."""
    command = peer.client_command(scenario.script, plan_for(bench, scenario, peer, called))
    return bench.spawn(command, f"{peer.name}-{scenario.script}", {})


def plan_for(bench: Bench, scenario: Scenario, peer: Peer, called: str = "") -> dict[str, Any]:
    """Give what a client is to do; see ``clients/load.py``."""
    return {
        "uri": bench.uri,
        "service": called or peer.service,
        "task": scenario.task,
        "in_flight": scenario.in_flight,
        "payload": scenario.payload,
        "seconds": bench.seconds,
        "warmup": WARMUP,
        "max_workers": MAX_WORKERS,
    }


def only(scenario: Scenario, figures: Figures) -> Figures:
    """Keep the figures that the scenario names."""
    names = {metric.name for metric in scenario.metrics}
    return {name: value for name, value in figures.items() if name in names}


def wait_for_greeting(url: str, limit: float, child: Child) -> None:
    """Ask until the greeting comes.

    Raises:
        ChildFailed: It did not come in time, or something else came.
    """
    deadline = time.monotonic() + limit
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                body = answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline or not child.is_running:
                raise ChildFailed(f"{url} did not answer within {limit:g} s; {child.log_tail()}") from None
            time.sleep(0.05)
            continue
        if body != GREETING:
            raise ChildFailed(f"{url} answered {body[:200]!r} instead of {GREETING!r}")
        return


def parse_wrk(output: str) -> Figures:
    """Give wrk's number of requests, its seconds, and the 99th percentile in milliseconds.

    Raises:
        ChildFailed: wrk failed, or some answers were errors.
    """
    total = re.search(r"(\d+) requests in ([\d.]+)(s|m)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if total is None or p99 is None or "Non-2xx" in output or "Socket errors" in output:
        raise ChildFailed(f"wrk said:\n{output}")
    seconds = float(total[2]) * {"s": 1, "m": 60}[total[3]]
    return {
        "requests": float(total[1]),
        "seconds": seconds,
        "p99": float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]],
    }


_MEASURES: dict[str, Callable[[Bench, Scenario, Peer], Figures]] = {
    "startup": measure_startup,
    "rpc-sequential": measure_rpc,
    "rpc-50": measure_rpc,
    "rpc-50-10kb": measure_rpc,
    "events-handled": measure_events,
    "publish-sequential": measure_publish,
    "publish-50": measure_publish,
    "publish-50-stored": measure_publish,
    "http": measure_http,
    "many-services": measure_many,
    "memory": measure_inside,
    "local": measure_inside,
    "workers": measure_workers,
}
