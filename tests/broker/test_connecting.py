"""Connections that do not come up, or not at once."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from echo import Echo, connection_of, raw_channel
from waiting import wait_until

from rpcservice import ClusterRpc, ServiceContainer, ServiceRpc
from rpcservice import rpc as rpc_method
from rpcservice.amqp.connection import pauses
from rpcservice.concurrency import Event, green
from rpcservice.errors import BrokerUnavailable, ChannelClosed
from rpcservice.testing import RabbitMQNode, TcpProxy, free_ports
from rpcservice.testing.callers import cluster_client
from rpcservice.testing.rabbitmq import PASSWORD_PREFIX

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Make = Callable[..., ServiceContainer]


@pytest.fixture
def config(proxy: TcpProxy) -> dict[str, Any]:
    return {"AMQP_URI": proxy.uri, "HEARTBEAT": 1, "rpc_timeout": 15}


def test_the_pauses_between_attempts_grow_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    growing = pauses()
    assert [next(growing) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_service_starts_when_the_broker_comes(
    container_factory: Make, proxy: TcpProxy, caplog: pytest.LogCaptureFixture, gate: Event
) -> None:
    Echo.gate = gate
    caplog.set_level(logging.INFO)
    proxy.refuse()
    container = container_factory(Echo)
    task = green().spawn(container.start)
    wait_until(lambda: "trying again in 0.1 s" in caplog.text, "the second attempt")
    assert "trying again in 0.05 s" in caplog.text
    proxy.resume()
    assert task.wait(10)
    assert connection_of(container).health() is None


def test_a_broker_that_stays_away_is_an_error_after_startup_timeout(container_factory: Make, proxy: TcpProxy) -> None:
    proxy.refuse()
    container = container_factory(Echo, {"startup_timeout": 0.3})
    with pytest.raises(BrokerUnavailable, match=r"within 0\.3 s: cannot connect to amqp://.*; start it") as caught:
        container.start()
    assert PASSWORD_PREFIX not in str(caught.value)


def test_a_wrong_password_is_an_error_at_the_start(
    container_factory: Make, rabbitmq_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    container = container_factory(
        Echo, {"AMQP_URI": rabbitmq_uri.replace(PASSWORD_PREFIX, "wrong-"), "startup_timeout": 0.3}
    )
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        container.start()
    assert "wrong" not in caplog.text


def test_a_service_that_does_not_fit_a_queue_is_an_error_at_the_start(
    container_factory: Make, rabbitmq_uri: str
) -> None:
    with raw_channel(rabbitmq_uri) as channel:
        channel.declare_queue("rpc-echo", arguments={"x-max-length": 5})
    begin = monotonic()
    with pytest.raises(ChannelClosed, match=r"406 .*'rpc-echo'"):
        container_factory(Echo).start()
    assert monotonic() - begin < 5


def test_the_next_broker_of_a_list_is_used_when_the_first_is_away(
    container_factory: Make, rabbitmq_uri: str, proxy: TcpProxy, gate: Event, rpc: Any
) -> None:
    Echo.gate = gate
    away = f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}//"
    container_factory(Echo, {"AMQP_URI": f"{away};{proxy.uri}"}).start()
    assert rpc["echo"].say("here") == "here"


def test_a_service_goes_to_the_next_broker_of_a_list_when_its_own_goes_away(
    container_factory: Make, rabbitmq_uri: str, gate: Event
) -> None:
    Echo.gate = gate
    client = cluster_client(lambda cls: container_factory(cls, {"AMQP_URI": rabbitmq_uri}))
    with TcpProxy(rabbitmq_uri) as first, TcpProxy(rabbitmq_uri) as second:
        container = container_factory(Echo, {"AMQP_URI": f"{first.uri};{second.uri}"})
        container.start()
        first.refuse()
        wait_until(lambda: second.connections == 1, "the connection by the second way")
        assert client["echo"].say("moved") == "moved"
        container.stop()


def test_a_service_that_gave_up_leaves_no_connection_behind(container_factory: Make, proxy: TcpProxy) -> None:
    """The attempt that was under way when the time was up ends as soon as it succeeds."""
    proxy.black_hole()
    container = container_factory(Echo, {"startup_timeout": 0.3})
    with pytest.raises(BrokerUnavailable):
        container.start()
    proxy.resume()
    proxy.wait_for_connections(0)


def test_the_command_line_exits_with_1_when_the_broker_stays_away(tmp_path: Path) -> None:
    service = tmp_path / "away.py"
    service.write_text("from rpcservice import rpc\nclass Away:\n    name = 'away'\n    @rpc\n    def x(self): ...\n")
    broker = f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}//"
    done = subprocess.run(
        [sys.executable, "-m", "rpcservice", "run", str(service), "--broker", broker, "-d", "startup_timeout=0.5"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 1
    assert "no connection to the broker at amqp://guest:**@127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def tls_uri(rabbitmq: RabbitMQNode) -> Iterator[str]:
    uri = rabbitmq.vhost(tls=True)
    yield uri
    rabbitmq.delete_vhost(uri)


def test_a_service_works_over_tls(container_factory: Make, rabbitmq: RabbitMQNode, tls_uri: str, gate: Event) -> None:
    assert rabbitmq.certificates is not None
    config = {"AMQP_URI": tls_uri, "AMQP_SSL": {"ca_certs": str(rabbitmq.certificates.ca)}}
    Echo.gate = gate
    container_factory(Echo, config).start()
    assert cluster_client(lambda cls: container_factory(cls, config))["echo"].say("secret") == "secret"
    assert [row["ssl"] for row in rabbitmq.connections(tls_uri)] == [True, True]


def test_a_broker_whose_certificate_nobody_vouches_for_is_refused(container_factory: Make, tls_uri: str) -> None:
    container = container_factory(Echo, {"AMQP_URI": tls_uri, "AMQP_SSL": True, "startup_timeout": 0.5})
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        container.start()


def test_a_client_with_a_uri_of_its_own_has_a_connection_of_its_own(
    container_factory: Make, rabbitmq: RabbitMQNode, rabbitmq_uri: str, tls_uri: str, gate: Event
) -> None:
    other_uri = tls_uri.replace("amqps://", "amqp://").replace(f":{rabbitmq.tls_port}/", f":{rabbitmq.port}/")

    class Bridge:
        name = "bridge"
        here = ServiceRpc("echo")
        there = ServiceRpc("echo", uri=other_uri)
        there_too = ClusterRpc(uri=other_uri)

        @rpc_method
        def ask(self) -> list[str]:
            return [self.here.say("here"), self.there.say("there"), self.there_too.echo.say("there too")]

    Echo.gate = gate
    near, far = {"AMQP_URI": rabbitmq_uri}, {"AMQP_URI": other_uri}
    container_factory(Echo, near).start()
    container_factory(Echo, far).start()
    container_factory(Bridge, near).start()
    client = cluster_client(lambda cls: container_factory(cls, near))
    assert client["bridge"].ask() == ["here", "there", "there too"]
    assert len(rabbitmq.connections(other_uri)) == 2
