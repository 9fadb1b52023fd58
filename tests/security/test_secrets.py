"""Passwords and sensitive arguments stay where they are: out of logs at every level, answers, reprs and commands."""

import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from wire import Wire

from rpcservice import ClusterRpc, EventDispatcher, Publisher, ServiceRpc, consume, event_handler, http, rpc
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.cli.banner import describe
from rpcservice.concurrency import green
from rpcservice.config import hide_password, make_settings
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import ConfigError
from rpcservice.standalone.rpc import ClusterRpcClient
from rpcservice.testing import FakeHost
from rpcservice.testing.ports import free_ports
from rpcservice.web.server import WebServer

SECRET = "hunter2-the-password"

# URIs as people write them, right and wrong.
URIS = [
    f"amqp://me:{SECRET}@host//",
    f"amqps://me:{SECRET}@host:5671/v?heartbeat=5",
    f"amqp://:{SECRET}@host",
    f"amqp://a:{SECRET}@one//;amqp://b:{SECRET}@two//",
    f"amqp://me:a;{SECRET}@host//",
    f"amqp://me:a/{SECRET}@host//",
    f"amqp://me:{SECRET}/b@host//",
    f"amqp://me:a@{SECRET}@host//",
    f"amqp://me:{SECRET}:b@host//",
    f"amqp://me:a?{SECRET}@host",
    f"amqp://me:a#{SECRET}@host",
    f"amqp://me:[{SECRET}@host",
    f"amqp://me:{SECRET}\n@host",
    f"amqp//me:{SECRET}@host",
    f"amqp:/me:{SECRET}@host",
    f"amqp:me:{SECRET}@host",
    f"me:{SECRET}@host",
    f" amqp://me:{SECRET}@host",
    f"redis://:{SECRET}@host:6379/0",
    f"redis://host:6379/0?password={SECRET}",
    f"sqs://AKIAKEY:a/{SECRET}+b@",
    f"sentinel://host:26379;sentinel://:{SECRET}@host2",
    f"mongodb://me:{SECRET}@host/db?authSource=admin",
    f"sqla+postgresql://me:{SECRET}@host/db",
    f"azureservicebus://policy:{SECRET}@namespace",
    f"confluentkafka://me:{SECRET}@host",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_for_people_has_no_password(uri: str) -> None:
    assert SECRET not in hide_password(uri)
    assert SECRET not in hide_password(repr({"AMQP_URI": uri}))


@pytest.mark.parametrize("link", ["frames", "channel"])
@pytest.mark.parametrize("uri", URIS)
def test_a_configuration_that_is_refused_does_not_tell_it(uri: str, link: str) -> None:
    try:
        settings = make_settings({"AMQP_URI": uri, "link": link})
    except ConfigError as exc:
        assert SECRET not in "".join(traceback.format_exception(exc))
    else:
        assert SECRET not in f"{settings!r} {connection_key(settings)!r}"


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_of_a_client_that_is_refused_does_not_tell_it(uri: str) -> None:
    settings = make_settings({"AMQP_URI": "memory://"})
    try:
        key = connection_key(settings, uri=uri)
    except ConfigError as exc:
        assert SECRET not in "".join(traceback.format_exception(exc))
    else:
        connection = FakeHost(config={"AMQP_URI": "memory://"}).resource(AmqpConnection, key)
        assert SECRET not in f"{key!r} {connection.name} {connection!r} {connection.health()}"


def everything(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Give all that has been logged and printed so far."""
    return "\n".join([caplog.text, *capfd.readouterr()])


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Log everything, and give all of it."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: everything(caplog, capfd)


class Caller:
    name = "caller"
    one = ServiceRpc("one", timeout=1)
    cluster = ClusterRpc(timeout=1)
    dispatch = EventDispatcher()
    publish = Publisher()

    @event_handler("shop", "placed")
    def hear(self, payload: Any) -> None:
        """Take an event."""

    @consume(queue="parcels")
    def take(self, payload: Any) -> None:
        """Take a message."""

    @rpc
    def ping(self) -> str:
        return "pong"

    @http("GET", "/fail")
    def fail(self, request: Any) -> None:
        raise RuntimeError("something")


@pytest.mark.parametrize("link", ["frames", "channel"])
def test_a_broker_that_does_not_answer_is_told_of_without_its_password(
    runner_factory: Callable[..., ServiceRunner], link: str, seen: Callable[[], str]
) -> None:
    one, two = free_ports(2)
    uri = f"amqp://me:{SECRET}@127.0.0.1:{one}//;amqp://me:{SECRET}@127.0.0.1:{two}//"
    runner = runner_factory(Caller, config={"AMQP_URI": uri, "link": link, "startup_timeout": 0.3})
    with pytest.raises(Exception, match="no connection to the broker at amqp://me:") as caught:
        runner.start()
    told = "".join(traceback.format_exception(caught.value)) + seen()
    assert f"127.0.0.1:{two}" in told
    assert SECRET not in told


def test_a_standalone_client_does_not_tell_it(seen: Callable[[], str]) -> None:
    (port,) = free_ports(1)
    uri = f"amqp://me:{SECRET}@127.0.0.1:{port}//"
    client = ClusterRpcClient({"AMQP_URI": uri, "startup_timeout": 0.3})
    with pytest.raises(Exception, match="broker") as caught, client as cluster:
        cluster.one.method()
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + seen()


@pytest.mark.broker
@pytest.mark.parametrize("link", ["frames", "channel"])
def test_the_whole_life_of_a_service_does_not_tell_it(
    runner_factory: Callable[..., ServiceRunner], rabbitmq: Any, rabbitmq_uri: str, link: str, seen: Callable[[], str]
) -> None:
    """Started, healthy, cut off, connected again, asked over HTTP, stopped, all of it at the level DEBUG."""
    password = rabbitmq_uri.split("@")[0].rpartition(":")[2]
    runner = runner_factory(Caller, config={"AMQP_URI": rabbitmq_uri, "link": link})
    runner.start()
    server = runner.resources.get(WebServer)
    pages = [get(server.address, "/health"), get(server.address, "/fail"), get(server.address, "/nowhere")]
    rabbitmq.close_connections("a test of secrets")
    with ClusterRpcClient({"AMQP_URI": rabbitmq_uri, "startup_timeout": 20}) as client:
        assert client.caller.ping() == "pong"
    pages.append(get(server.address, "/health"))
    runner.stop()
    reprs = [repr(one) for one in (runner, runner.config, *runner.resources, *runner.service_map.values())]
    told = seen()
    assert "connecting again" in told
    assert password not in "\n".join([told, *pages, *reprs])


def get(address: tuple[str, int], path: str) -> str:
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


# Commands


def command(folder: Path, *arguments: str) -> str:
    """Run a command of rpcservice; gives all that it says."""
    (folder / "quiet.py").write_text("class Quiet:\n    name = 'quiet'\n")
    done = subprocess.run(
        [sys.executable, "-m", "rpcservice", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["show-config", "--all"],
        ["run", "quiet", "-d", "startup_timeout=0.2", "--debug"],
        ["call", "quiet", "method", "-d", "startup_timeout=0.2", "--debug"],
        ["emit", "quiet", "event", "-d", "startup_timeout=0.2", "--debug"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_do_not_tell_it(tmp_path: Path, arguments: list[str]) -> None:
    (port,) = free_ports(1)
    uri = f"amqp://me:{SECRET}@127.0.0.1:{port}//"
    for given in (["--broker", uri], ["-d", f"AMQP_URI={uri}x:y"], ["-d", f"AMQP_URI=amqp://me:a/{SECRET}@host"]):
        said = command(tmp_path, *arguments, *given)
        assert said
        assert SECRET not in said


def test_show_config_hides_what_a_key_calls_a_secret(tmp_path: Path) -> None:
    config = {
        "SMTP_PASSWORD": SECRET,
        "api": {"token": SECRET, "secret_key": SECRET, "ApiKey": SECRET, "url": f"https://me:{SECRET}@host"},
        "passwords": {"min_length": 12},
        "AMQP_URI": f"amqp://me:{SECRET}@host",
        "accounts": [{"user": "me", "passwd": SECRET}],
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    said = command(tmp_path, "show-config")
    assert SECRET not in said
    assert "min_length: 12" in said
    assert "user: me" in said


# Sensitive arguments


class Bank:
    name = "bank"

    @rpc(sensitive_arguments=("password", "card.number"), expected_exceptions=KeyError)
    def pay(self, password: str, card: dict[str, Any], how: str = "well") -> Any:
        if how == "badly":
            raise RuntimeError("no connection to the bank")
        if how == "expectedly":
            raise KeyError("account")
        return {1, 2} if how == "oddly" else "paid"

    @event_handler("shop", "placed", sensitive_arguments="payload.password")
    def hear(self, payload: Any) -> None:
        raise RuntimeError("it fails")

    @http("POST", "/pay")
    def over_http(self, request: Any) -> None:
        raise RuntimeError("it fails")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"card": {"number": SECRET}, "how": "badly"},
        {"card": {"number": SECRET}, "how": "expectedly"},
        {"card": {"number": SECRET}, "how": "oddly"},
        {"card": {"number": SECRET}, "no_such": SECRET},
        {},
    ],
    ids=["fails", "fails as expected", "gives what cannot be sent", "does not fit", "lacks something"],
)
@pytest.mark.parametrize("send_traceback", [False, True])
def test_sensitive_arguments_stay_out_of_logs_and_error_replies(
    runner_factory: Callable[..., ServiceRunner],
    broker_uri: str,
    seen: Callable[[], str],
    kwargs: dict[str, Any],
    send_traceback: bool,
) -> None:
    runner_factory(Bank, config={"send_traceback": send_traceback}).start()
    wire = Wire(broker_uri, green())
    body = json.dumps({"args": [], "kwargs": {"password": SECRET, **kwargs}}).encode()
    reply = wire.request("bank.pay", body).body.decode()
    wire.link.close()
    assert json.loads(reply)["error"]
    assert SECRET not in reply + seen()


def test_they_stay_out_of_logs_of_events_and_http(
    runner_factory: Callable[..., ServiceRunner], broker_uri: str, seen: Callable[[], str]
) -> None:
    runner = runner_factory(Bank)
    runner.start()
    wire = Wire(broker_uri, green())
    wire.publish("shop.events", "placed", json.dumps({"password": SECRET}).encode(), content_type="application/json")
    address = runner.resources.get(WebServer).address
    connection = HTTPConnection(*address, timeout=10)
    connection.request("POST", f"/pay?password={SECRET}", SECRET, headers={"Accept": "application/json"})
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    runner.stop()
    wire.link.close()
    told = seen()
    assert answer.status == 500
    assert told.count("RuntimeError: it fails") >= 2
    assert SECRET not in page + told


@pytest.mark.parametrize("uri", [f"amqp://me:{SECRET}@one//;amqp://me:{SECRET}@two//", f"memory://me:{SECRET}@one/"])
def test_the_banner_does_not_tell_it(uri: str) -> None:
    class Plain:
        name = "plain"

        @rpc
        def ping(self) -> None:
            """Do nothing."""

    runner = ServiceRunner({"AMQP_URI": uri})
    runner.add_service(Plain)
    lines = list(describe(runner))
    assert "Service plain" in lines
    assert SECRET not in "\n".join(lines)


def test_the_warning_of_an_unverified_broker_does_not_tell_it(caplog: pytest.LogCaptureFixture) -> None:
    settings = make_settings({"AMQP_URI": f"amqps://me:{SECRET}@one//;amqps://me:{SECRET}@two//"})
    key = connection_key(settings, ssl={"cert_reqs": "none"})
    FakeHost(config={"AMQP_URI": "memory://"}).resource(AmqpConnection, key)
    assert "amqps://me:***@two" in caplog.text
    assert SECRET not in caplog.text
