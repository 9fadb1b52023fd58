"""Extensions that others wrote for nameko, unedited, in services that are run by ``rpcservice run --nameko``."""

import http.client
import json
import socket
import subprocess
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_process import Running
from community_environment import EXTENSIONS, community_path
from community_process import run_service
from community_table import TABLE, TESTED
from waiting import wait_until

from rpcservice import ClusterRpcClient
from rpcservice.errors import RemoteError
from rpcservice.testing import RabbitMQNode, find_free_port

Run = Callable[..., AbstractContextManager[Running]]

pytestmark = [pytest.mark.broker, pytest.mark.interop]


@pytest.fixture(scope="session")
def extensions() -> str:
    """The folder that the extensions are imported from."""
    return community_path()


@pytest.fixture
def run(extensions: str, rabbitmq_uri: str, tmp_path: Path) -> Run:
    """Run a module of services on this test's broker, with further configuration."""

    def start(module: str, **config: Any) -> AbstractContextManager[Running]:
        return run_service(extensions, module, {"AMQP_URI": rabbitmq_uri, **config}, tmp_path)

    return start


@pytest.fixture
def services(rabbitmq_uri: str) -> Iterator[Any]:
    """A client for any service on this test's broker."""
    with ClusterRpcClient({"AMQP_URI": rabbitmq_uri, "rpc_timeout": 20}) as client:
        yield client


def get(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, str]:
    """Give status and body of an HTTP answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_amqp_retry_carries_a_call_out_again_until_it_succeeds(run: Run, services: Any) -> None:
    """The request waits in a queue of its own meanwhile, and its caller for the reply."""
    with run("retrying") as process:
        process.wait_for("services are up")
        assert services.retrying.third_time("red") == {"attempts": 3, "name": "red"}
        assert services.retrying.decorated("blue") == "done"


def test_amqp_retry_gives_up_after_its_limit(run: Run, services: Any) -> None:
    """The caller gets the reason; an error that asks for no retry comes back at once."""
    with run("retrying") as process:
        process.wait_for("services are up")
        with pytest.raises(RemoteError, match="Backoff aborted after '3' retries"):
            services.retrying.never()
        assert services.retrying.attempts("never") == 4
        with pytest.raises(RemoteError, match="ValueError for good"):
            services.retrying.fail()


def test_amqp_retry_handles_events_and_messages_again(run: Run, services: Any) -> None:
    """Each in its own queue."""
    with run("retrying") as process:
        process.wait_for("services are up")
        services.retrying.start("event", "parcel")
        wait_until(lambda: services.retrying.attempts("event") == 3, "the third attempt at the event")
        wait_until(lambda: services.retrying.attempts("parcel") == 3, "the third attempt at the message")


def test_sqlalchemy_commits_rolls_back_and_tries_again(run: Run, services: Any, tmp_path: Path) -> None:
    """With both of its providers, on SQLite."""
    uris = {"storing:Base": f"sqlite:///{tmp_path}/items.sqlite3", "storing:DeclarativeBase": "sqlite://"}
    with run("storing", DB_URIS=uris) as process:
        process.wait_for("services are up")
        services.storing.create()
        services.storing.add("red")
        with pytest.raises(RemoteError, match="rolled back"):
            services.storing.add_then_fail("blue")
        assert services.storing.count() == 1


@pytest.fixture
def redis_port() -> Iterator[int]:
    """The port of a Redis server that only this test uses."""
    port = find_free_port()
    try:
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        pytest.fail("redis-server is not installed; run: apt-get install redis-server")
    assert server.stdout is not None
    with server.stdout:
        assert any("ready to accept connections" in line.lower() for line in server.stdout)
        yield port
        server.kill()
        server.wait()


def test_redis_keeps_values(run: Run, services: Any, redis_port: int) -> None:
    """On a real server."""
    with run("caching", REDIS_URIS={"development": f"redis://127.0.0.1:{redis_port}/0"}) as process:
        process.wait_for("services are up")
        services.caching.put("colour", "red")
        assert services.caching.get("colour") == "red"


TRACES = {
    "version": 1,
    "formatters": {"trace": {"()": "nameko_tracer.formatters.JSONFormatter"}},
    "handlers": {
        "trace": {"class": "logging.StreamHandler", "formatter": "trace"},
        "plain": {"class": "logging.StreamHandler"},
    },
    "loggers": {"nameko_tracer": {"level": "INFO", "handlers": ["trace"], "propagate": False}},
    "root": {"level": "INFO", "handlers": ["plain"]},
}


def traces(process: Running, count: int) -> list[dict[str, Any]]:
    """Wait for so many traces in the log."""

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(process.err) if line.startswith("{")]

    wait_until(lambda: len(read()) >= count, f"{count} traces")
    return read()


def test_tracer_logs_requests_and_responses(run: Run, services: Any) -> None:
    """With the arguments, secrets hidden, and the result; of the events that a call sends, too, on one stack."""
    with run("tracing", LOGGING=TRACES, WEB_SERVER_ADDRESS="127.0.0.1:0") as process:
        process.wait_for("services are up")
        assert services.tracing.check(2, secret="hush") == 4
        logged = traces(process, 4)
    by_kind = {(trace["entrypoint_name"], trace["stage"]): trace for trace in logged}
    request, response = by_kind["check", "request"], by_kind["check", "response"]
    assert (request["call_args"], request["call_args_redacted"]) == ({"amount": 2, "secret": "********"}, True)
    assert (response["response"], response["response_status"]) == (4, "success")
    assert (request["service"], request["entrypoint_type"], request["call_id"]) == (
        "tracing",
        "Rpc",
        response["call_id"],
    )
    event = by_kind["on_checked", "request"]
    assert (event["entrypoint_type"], event["call_id_stack"][-2]) == ("EventHandler", request["call_id"])


def test_tracer_logs_errors(run: Run, services: Any) -> None:
    """With their type, and whether they were expected."""
    with run("tracing", LOGGING=TRACES, WEB_SERVER_ADDRESS="127.0.0.1:0") as process:
        process.wait_for("services are up")
        with pytest.raises(RemoteError, match="below nothing"):
            services.tracing.check(-1, secret="hush")
        _, response = traces(process, 2)
    assert (response["response_status"], response["exception_type"], response["exception_expected"]) == (
        "error",
        "ValueError",
        True,
    )
    assert "in check" in response["exception_traceback"]


def test_tracer_logs_http_requests(run: Run) -> None:
    """By an adapter of its own for them."""
    port = find_free_port()
    with run("tracing", LOGGING=TRACES, WEB_SERVER_ADDRESS=f"127.0.0.1:{port}") as process:
        process.wait_for("services are up")
        assert get(port, "/traced/7") == (200, "number 7")
        request, response = traces(process, 2)
    assert (request["call_args"]["number"], request["call_args"]["request"]["method"]) == (7, "GET")
    assert response["response"]["status_code"] == 200


class Sentry:
    """A server that takes Sentry's reports."""

    def __init__(self) -> None:
        reports: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Take a report."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                plain = body if body.startswith(b"{") else zlib.decompress(_decoded(body))
                reports.append(json.loads(plain))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.reports = reports
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://public:secret@127.0.0.1:{self.server.server_port}/1"


def _decoded(body: bytes) -> bytes:
    return body if body.startswith(b"x\x9c") else b64decode(body)


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    """A Sentry for this test."""
    made = Sentry()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_sentry_is_told_of_errors(run: Run, services: Any, sentry: Sentry) -> None:
    """With what is known of the call, once for each; expected ones are warnings."""
    with run("reporting", SENTRY={"DSN": sentry.dsn}, WEB_SERVER_ADDRESS="127.0.0.1:0") as process:
        process.wait_for("services are up")
        assert services.reporting.succeed() == "Client"
        for what in ("unexpected", "expected"):
            with pytest.raises(RemoteError, match=f"{what} failure"):
                services.reporting.fail(what)
        wait_until(lambda: len(sentry.reports) == 2, "two reports")
    by_type = {report["exception"]["values"][0]["type"]: report for report in sentry.reports}
    assert {name: report["level"] for name, report in by_type.items()} == {"ValueError": 40, "KeyError": 30}
    report = by_type["ValueError"]
    assert (report["logger"], report["tags"]["method_name"]) == ("reporting.fail", "fail")
    assert report["exception"]["values"][0]["stacktrace"]["frames"][-1]["function"] == "fail"


def test_sentry_is_told_of_errors_on_the_web(run: Run, sentry: Sentry) -> None:
    """With the request."""
    port = find_free_port()
    with run("reporting", SENTRY={"DSN": sentry.dsn}, WEB_SERVER_ADDRESS=f"127.0.0.1:{port}") as process:
        process.wait_for("services are up")
        assert get(port, "/fail?a=1")[0] == 500
        wait_until(lambda: sentry.reports, "a report")
    request = sentry.reports[0]["request"]
    assert (request["url"], request["query_string"]) == (f"http://127.0.0.1:{port}/fail", "a=1")


def test_prometheus_measures_every_kind_of_entrypoint(run: Run, services: Any) -> None:
    """And serves what it has measured over HTTP."""
    port = find_free_port()
    with run("measuring", WEB_SERVER_ADDRESS=f"127.0.0.1:{port}") as process:
        process.wait_for("services are up")
        services.measuring.work()
        wanted = (
            'measuring_rpc_requests_total{method_name="work"} 1.0',
            'measuring_events_total{event_type="worked",source_service="measuring"} 1.0',
            'measuring_consumer_requests_total{method_name="on_message"} 1.0',
            'measuring_timer_requests_total{method_name="tick"}',
            'measuring_http_requests_total{endpoint="/metrics",http_method="GET",status_code="200"}',
            "measuring_service_max_workers 10.0",
            "measuring_service_running_workers",
        )

        def scraped() -> bool:
            status, text = get(port, "/metrics", Accept="text/plain")
            assert status == 200
            return all(line in text for line in wanted)

        wait_until(scraped, "every metric")
    assert not [line for line in process.err if "ERROR" in line]


def test_http_answers_with_its_own_errors_and_headers(run: Run) -> None:
    """And structlog logs in the method."""
    port = find_free_port()
    with run("talking", WEB_SERVER_ADDRESS=f"127.0.0.1:{port}") as process:
        process.wait_for("services are up")
        assert get(port, "/orders/7", Accept="application/json") == (200, '{"number": 7}')
        assert get(port, "/orders/7", Accept="text/html")[0] == 406
        assert get(port, "/orders/7", method="OPTIONS")[0] == 200
        status, body = get(port, "/orders", method="POST", body="{}", Accept="*/*", Content_Type="application/json")
        assert (status, json.loads(body)) == (400, {"error_code": "BAD_REQUEST", "reason": "sold out"})
        logged = json.loads(process.wait_for('"event": "shown"').partition("{")[2].join(["{", ""]))
    assert (logged["number"], logged["entrypoint"].partition(".")[0]) == (7, "talking")


@pytest.fixture(scope="module")
def meter() -> Iterator[socket.socket]:
    """A socket that takes what StatsD is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


@pytest.fixture(scope="module")
def assorted(
    extensions: str, rabbitmq: RabbitMQNode, meter: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A client for the services of ``assorted``, which are many in one process."""
    uri = rabbitmq.vhost()
    statsd = {"host": "127.0.0.1", "port": meter.getsockname()[1], "prefix": "shop", "enabled": True}
    config = {
        "AMQP_URI": uri,
        "STATSD": {"metrics": statsd},
        "EVENTLOG_DISPATCHER": {"auto_capture": True, "entrypoints_to_exclude": ["logged"]},
    }
    with run_service(extensions, "assorted", config, tmp_path_factory.mktemp("assorted")) as process:
        process.wait_for("services are up")
        with ClusterRpcClient({"AMQP_URI": uri, "rpc_timeout": 20}) as client:
            yield client
    rabbitmq.delete_vhost(uri)


def test_cachetools_answers_from_its_cache(assorted: Any) -> None:
    """Always, or when the service fails."""
    assert assorted.cached.first_from_cache() == [1, 1, 1]
    assert assorted.cached.cache_when_it_fails() == [1, 2, 2, 2]


def test_eventlog_dispatcher_sends_events_of_calls(assorted: Any) -> None:
    """Those that it is asked for, and one for each call by itself."""
    assorted.logged.work()
    expected = [["entrypoint_fired", "work"], ["worked", "work"]]
    wait_until(lambda: assorted.logged.logged() == expected, "both events")


def test_statsd_counts_and_times(assorted: Any, meter: socket.socket) -> None:
    """By the provider in the method, and by its decorator about it."""
    assorted.metered.work()
    assert meter.recv(1000) == b"shop.work_count:1|c"
    assert meter.recv(1000).startswith(b"shop.work_time:")


def test_atomicity_dispatches_after_success_and_undoes_after_failure(assorted: Any) -> None:
    """With the providers that it finds in the service."""
    assorted.commands.commit()
    wait_until(lambda: assorted.commands.seen("dispatched"), "the event")
    with pytest.raises(RemoteError, match="failed"):
        assorted.commands.fail()
    assert assorted.commands.seen("undone")


def test_injector_gives_arguments_that_no_caller_gives(assorted: Any) -> None:
    """It decorates methods that are entrypoints already."""
    assert assorted.injected.session("a") == "a Session"


def test_cron_fires_by_its_schedule(assorted: Any) -> None:
    """Each second."""
    wait_until(lambda: assorted.scheduled.ticks() >= 2, "the second tick")


def test_opentelemetry_traces_calls_and_events_through_services(run: Run, services: Any) -> None:
    """By wrapping methods of nameko's; all spans of one call are one trace."""
    names = {
        "calling.work": "SERVER",
        "RPC to called.double": "CLIENT",
        "called.double": "SERVER",
        "Dispatch event calling.doubled": "PRODUCER",
        "called.on_doubled": "CONSUMER",
    }
    with run("instrumented") as process:
        process.wait_for("services are up")
        assert services.calling.work() == 4

        def find() -> Any:
            found = {name: (kind, trace) for name, kind, trace in services.calling.spans() if name in names}
            return found if len(found) == len(names) else None

        found = wait_until(find, "the spans")
    assert {name: kind for name, (kind, _) in found.items()} == names
    assert len({trace for _, trace in found.values()}) == 1


def test_the_table_says_which_extensions_are_tested() -> None:
    """With the versions that these tests run."""
    tested = sorted(f"{row.name}=={row.version}" for row in TABLE if row.outcome == TESTED)
    assert tested == sorted(EXTENSIONS)
