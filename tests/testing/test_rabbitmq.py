import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from rpcservice.errors import BrokerUnavailable, MissingExtra
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.ports import is_open, speaks_amqp
from rpcservice.testing.rabbitmq import vhost_name
from rpcservice.testing.rabbitmq_install import find_server


@pytest.fixture
def client(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> Iterator[amqp.Connection]:
    """A plain AMQP connection to a virtual host of this test's own."""
    with _connect(rabbitmq_uri) as connection:
        yield connection


def _login(uri: str) -> dict[str, Any]:
    parts = urlsplit(uri)
    return {"userid": parts.username, "password": parts.password, "virtual_host": vhost_name(uri)}


def _connect(uri: str) -> amqp.Connection:
    parts = urlsplit(uri)
    connection = amqp.Connection(f"{parts.hostname}:{parts.port}", **_login(uri))
    connection.connect()
    return connection


def test_the_server_is_the_packages_own_script_and_not_the_wrapper() -> None:
    """The wrapper on the PATH runs su, and its child outlives the wrapper's kill."""
    assert find_server().with_name("rabbitmq-env").exists()


def test_a_server_named_in_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("rabbitmq-server", "rabbitmq-env"):
        (tmp_path / name).touch()
    monkeypatch.setenv("RABBITMQ_SERVER", str(tmp_path / "rabbitmq-server"))
    assert find_server() == tmp_path / "rabbitmq-server"


def test_without_a_server_the_error_says_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_SERVER", "/nowhere/rabbitmq-server")
    with pytest.raises(MissingExtra, match="apt-get install -y rabbitmq-server"):
        RabbitMQNode()


@pytest.mark.parametrize(
    ("given", "name"),
    [("orders", "orders"), ("amqp://guest@host:1/a%2Fb", "a/b"), ("amqp://host/", "/"), ("/", "/")],
)
def test_a_virtual_host_is_known_by_name_or_uri(given: str, name: str) -> None:
    assert vhost_name(given) == name


@pytest.mark.broker
def test_connections_are_listed_for_one_virtual_host(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, client: amqp.Connection
) -> None:
    (connection,) = rabbitmq.connections(rabbitmq_uri)
    assert connection["client_properties"]["product"] == "py-amqp"


@pytest.mark.broker
def test_channels_tell_their_prefetch_and_confirms(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, client: amqp.Connection
) -> None:
    channel = client.channel()
    channel.basic_qos(0, 7, True)
    channel.confirm_select()
    (row,) = rabbitmq.channels(rabbitmq_uri)
    assert (row["number"], row["confirm"]) == (channel.channel_id, True)


@pytest.mark.broker
def test_queues_exchanges_bindings_and_consumers_are_listed(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, client: amqp.Connection
) -> None:
    channel = client.channel()
    channel.exchange_declare("orders", "topic", durable=True, auto_delete=False)
    channel.queue_declare("q", durable=True, auto_delete=False, arguments={"x-max-length": 5})
    channel.queue_bind("q", "orders", "a.#")
    channel.basic_qos(0, 3, False)
    channel.basic_consume("q")
    assert rabbitmq.exchanges(rabbitmq_uri)["orders"]["type"] == "topic"
    queue = rabbitmq.queues(rabbitmq_uri)["q"]
    assert (queue["durable"], queue["consumers"], queue["arguments"]) == (True, 1, {"x-max-length": 5})
    keys = {(row["source_name"], row["routing_key"]) for row in rabbitmq.bindings(rabbitmq_uri)}
    assert ("orders", "a.#") in keys
    (consumer,) = rabbitmq.consumers(rabbitmq_uri)
    assert (consumer["queue_name"], consumer["prefetch_count"]) == ("q", 3)


@pytest.mark.broker
def test_virtual_hosts_are_kept_apart(rabbitmq: RabbitMQNode, rabbitmq_uri: str, client: amqp.Connection) -> None:
    client.channel().queue_declare("mine")
    other = rabbitmq.vhost()
    assert rabbitmq.queues(other) == {}
    rabbitmq.delete_vhost(other)


@pytest.mark.broker
def test_a_deleted_virtual_host_closes_its_connections(rabbitmq: RabbitMQNode) -> None:
    uri = rabbitmq.vhost()
    connection = _connect(uri)
    rabbitmq.delete_vhost(uri)
    with pytest.raises((OSError, amqp.ConnectionForced, amqp.NotFound)):
        connection.drain_events(timeout=10)
    connection.collect()


@pytest.mark.broker
def test_all_connections_can_be_closed_by_the_broker(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    connection = _connect(rabbitmq_uri)
    connection.channel()
    rabbitmq.close_connections("time for a test")
    with pytest.raises((OSError, amqp.ConnectionForced)):
        connection.drain_events(timeout=10)
    connection.collect()
    assert rabbitmq.connections(rabbitmq_uri) == []


@pytest.mark.broker
def test_the_memory_alarm_blocks_and_unblocks_publishers(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    said: list[str] = []
    parts = urlsplit(rabbitmq_uri)
    with amqp.Connection(
        f"{parts.hostname}:{parts.port}",
        **_login(rabbitmq_uri),
        on_blocked=lambda reason: said.append("blocked"),
        on_unblocked=lambda: said.append("unblocked"),
    ) as connection:
        channel = connection.channel()
        rabbitmq.block_publishers()
        try:
            channel.basic_publish(amqp.Message("x"), routing_key="nowhere")
            connection.drain_events(timeout=10)
        finally:
            rabbitmq.unblock_publishers()
        connection.drain_events(timeout=10)
    assert said == ["blocked", "unblocked"]


@pytest.mark.broker
def test_an_expression_that_fails_is_shown_with_its_error(rabbitmq: RabbitMQNode) -> None:
    with pytest.raises(BrokerUnavailable, match="no_such_function"):
        rabbitmq.evaluate("rabbit:no_such_function()")


@pytest.mark.broker
def test_rabbitmqctl_works_on_the_private_node(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    assert vhost_name(rabbitmq_uri) in rabbitmq.ctl("list_vhosts")


@pytest.mark.broker
def test_a_failed_rabbitmqctl_is_an_error_with_its_words(rabbitmq: RabbitMQNode) -> None:
    with pytest.raises(BrokerUnavailable, match="no_such_command"):
        rabbitmq.ctl("no_such_command")


@pytest.mark.broker
def test_a_verified_tls_connection_works(rabbitmq: RabbitMQNode) -> None:
    uri = rabbitmq.vhost(tls=True)
    parts = urlsplit(uri)
    assert rabbitmq.certificates is not None
    tls = {"ca_certs": str(rabbitmq.certificates.ca), "server_hostname": parts.hostname}
    with amqp.Connection(f"{parts.hostname}:{parts.port}", **_login(uri), ssl=tls) as connection:
        assert connection.connected
        assert [row["ssl"] for row in rabbitmq.connections(uri)] == [True]
    rabbitmq.delete_vhost(uri)


@pytest.mark.broker
def test_a_kill_ends_the_process_and_a_start_brings_durable_queues_back(rabbitmq_node: RabbitMQNode) -> None:
    """The fault tests stand on this: the same port, the same data, after SIGKILL."""
    uri = rabbitmq_node.vhost()
    with _connect(uri) as connection:
        channel = connection.channel()
        channel.confirm_select()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.queue_declare("lost", durable=False, auto_delete=False)
        channel.basic_publish_confirm(amqp.Message("x", delivery_mode=2), routing_key="kept")
        rabbitmq_node.sync()
        pid = int((rabbitmq_node.folder / "pid").read_text())
        rabbitmq_node.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(OSError, match=r".+"):
            connection.drain_events(timeout=10)
        connection.collect()
    assert not rabbitmq_node.is_running
    assert not is_open(rabbitmq_node.port)
    rabbitmq_node.start()
    queues = rabbitmq_node.queues(uri)
    assert {name: row["messages_ready"] for name, row in queues.items()} == {"kept": 1}


@pytest.mark.broker
def test_a_polite_stop_tells_clients_and_a_restart_answers_again(rabbitmq_node: RabbitMQNode) -> None:
    rabbitmq_node.restart()
    assert speaks_amqp(rabbitmq_node.port)
    rabbitmq_node.stop()
    assert "SIGTERM received - shutting down" in rabbitmq_node.log_tail(400)
    assert not rabbitmq_node.is_running


@pytest.mark.broker
def test_a_reset_node_runs_and_is_empty(rabbitmq_node: RabbitMQNode) -> None:
    with _connect(rabbitmq_node.uri) as connection:
        connection.channel().queue_declare("old", durable=True, auto_delete=False)
        rabbitmq_node.vhost("old")
        rabbitmq_node.block_publishers()
        rabbitmq_node.reset()
        assert rabbitmq_node.connections() == []
        connection.collect()
    assert rabbitmq_node.queues() == {}
    assert rabbitmq_node.evaluate("rabbit_vhost:list_names()") == ["/"]
    assert rabbitmq_node.evaluate("length(rabbit_alarm:get_alarms())") == 0
    _connect(rabbitmq_node.uri).close()


@pytest.mark.broker
def test_a_server_that_cannot_start_is_an_error_with_the_end_of_its_log() -> None:
    node = RabbitMQNode(settings={"no.such.setting": "1"})
    try:
        with pytest.raises(BrokerUnavailable, match=r"no\.such\.setting"):
            node.start()
    finally:
        node.close()
    assert not node.folder.exists()


@pytest.mark.broker
def test_nothing_outlives_a_process_that_is_killed() -> None:
    """An aborted test run leaves no server, no port mapper and no data behind."""
    script = (
        "import sys, time; from rpcservice.testing import RabbitMQNode; node = RabbitMQNode(); node.start();"
        "print(node.folder, (node.folder / 'guarded').read_text(), node._guard.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder, *pids = process.stdout.readline().split()
        ends = [os.pidfd_open(int(pid)) for pid in pids]
        process.send_signal(signal.SIGKILL)
        assert all(_has_ended(end) for end in ends)
    assert not Path(folder).exists()


def _has_ended(pidfd: int, timeout: float = 30) -> bool:
    """Wait for the end of a process that is not our child."""
    ready, _, _ = select.select([pidfd], [], [], timeout)
    os.close(pidfd)
    return bool(ready)


@pytest.mark.broker
def test_a_node_joins_the_cluster_of_its_peer_and_comes_back_to_it() -> None:
    running = "length(rabbit_nodes:all_running())"
    with RabbitMQNode() as first, RabbitMQNode(peer=first) as second:
        assert first.evaluate(running) == second.evaluate(running) == 2
        second.kill()
        second.start()
        assert second.evaluate(running) == 2
