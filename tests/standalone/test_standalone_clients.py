"""Clients for RPC, here on the greenlets of a patched process; threads are in test_standalone_threads.py."""

import gc
import logging
import re
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from standalone_desk import Desk
from waiting import wait_until

from rpcservice import (
    BrokerUnavailable,
    ClusterRpcClient,
    ClusterRpcProxy,
    ConfigError,
    ConnectionLost,
    RemoteError,
    RpcTimeout,
    ServiceRpcClient,
    ServiceRpcProxy,
    UnknownService,
)
from rpcservice.concurrency import green
from rpcservice.config import Settings, make_settings
from rpcservice.standalone.session import BROKER_WAIT, client_settings

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.fixture
def client(desk: type[Desk], config: dict[str, Any]) -> Iterator[ClusterRpcClient]:
    """A client that has not been started."""
    made = ClusterRpcClient(config)
    yield made
    made.stop()


@pytest.fixture
def cluster(client: ClusterRpcClient) -> Any:
    """A started client's proxy."""
    return client.start()


def lost_port() -> int:
    """Give a port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# How calls are made


def test_services_and_methods_are_attributes_and_items(cluster: Any) -> None:
    assert (cluster.desk.say("a"), cluster["desk"]["say"]("b"), cluster.desk.say(text="c")) == ("a", "b", "c")


def test_a_client_of_one_service_has_its_methods(desk: type[Desk], config: dict[str, Any]) -> None:
    with ServiceRpcClient("desk", config) as service:
        assert (service.say("a"), service["say"]("b")) == ("a", "b")


def test_a_block_disconnects_at_its_end(client: ClusterRpcClient) -> None:
    with client as cluster:
        assert cluster.desk.say("in") == "in"
    with pytest.raises(ConnectionLost, match="nothing was sent: this client has been stopped; start") as caught:
        cluster.desk.say("after")
    assert caught.value.maybe_executed is False


def test_the_first_call_connects(client: ClusterRpcClient) -> None:
    assert (client.desk.say("a"), client["desk"].say("b"), client.proxy.desk.say("c")) == ("a", "b", "c")


def test_a_service_client_connects_with_its_first_call_too(desk: type[Desk], config: dict[str, Any]) -> None:
    client = ServiceRpcClient("desk", config)
    assert (client.say("a"), client["say"]("b"), client.proxy.say("c")) == ("a", "b", "c")
    client.stop()


def test_private_names_are_no_services(config: dict[str, Any]) -> None:
    """So that copying, pickling and mocking see what is there, and connect nothing."""
    assert not hasattr(ClusterRpcClient(config), "_private")
    assert not hasattr(ServiceRpcClient("desk", config), "__deepcopy__")


def test_a_client_may_be_started_again(client: ClusterRpcClient) -> None:
    before = client.start()
    client.stop()
    client.start()
    assert before.desk.say("again") == "again"


def test_blocks_may_be_nested(client: ClusterRpcClient) -> None:
    with client as outer:
        with client as inner:
            assert inner.desk.say("inner") == "inner"
        assert outer.desk.say("outer") == "outer"
    with pytest.raises(ConnectionLost):
        outer.desk.say("after")


def test_a_block_leaves_a_client_that_was_started_by_hand(client: ClusterRpcClient) -> None:
    cluster = client.start()
    with client:
        pass
    assert cluster.desk.say("still") == "still"


def test_stopping_twice_is_stopping_once(client: ClusterRpcClient) -> None:
    client.start()
    client.stop()
    client.stop()


def test_namekos_names_are_the_same_classes() -> None:
    assert (ClusterRpcProxy, ServiceRpcProxy) == (ClusterRpcClient, ServiceRpcClient)


# Calls in flight


def test_results_come_in_any_order_and_again(cluster: Any, desk: type[Desk]) -> None:
    held, quick = cluster.desk.hold.call_async("held"), cluster.desk.say.call_async("quick")
    assert quick.result() == "quick"
    assert not held.is_done()
    desk.gate.set()
    assert (held.result(), held.result(), quick.result()) == ("held", "held", "quick")


def test_an_error_is_raised_each_time_it_is_asked_for(cluster: Any) -> None:
    call = cluster.desk.fail.call_async("bad")
    for _ in range(2):
        with pytest.raises(RemoteError, match="NoLuck bad"):
            call.result()


def test_a_service_that_nobody_offers_is_told_at_once(cluster: Any) -> None:
    with pytest.raises(UnknownService, match="'nobody'"):
        cluster.nobody.say("a")


def test_a_call_has_a_timeout_of_its_own(cluster: Any) -> None:
    began = monotonic()
    with pytest.raises(RpcTimeout, match=r"desk\.hold did not answer within 0\.05 s"):
        cluster.desk.hold.with_options(timeout=0.05)("a")
    assert monotonic() - began < 5
    assert cluster.desk.say("still here") == "still here"


def test_a_client_has_a_timeout_for_all_its_calls(desk: type[Desk], config: dict[str, Any]) -> None:
    with ClusterRpcClient(config, timeout=0.05) as cluster, pytest.raises(RpcTimeout, match=r"0\.05 s"):
        cluster.desk.hold("a")


def test_a_method_keeps_the_options_that_it_has(cluster: Any) -> None:
    method = cluster.desk.tell_properties.with_options(priority=3).with_options(headers={"extra": "x"})
    properties = method()
    assert (properties["priority"], properties["headers"]["extra"]) == (3, "x")


def test_a_method_with_options_outlives_a_stop(client: ClusterRpcClient) -> None:
    """What is sent is made anew for the next connection: it has another reply queue."""
    say = client.start().desk.say.with_options(timeout=5)
    assert say("a") == "a"
    client.stop()
    client.start()
    assert say("b") == "b"


def test_options_of_a_client_go_with_each_call(desk: type[Desk], config: dict[str, Any]) -> None:
    accepting = {**config, "ACCEPT": ["json", "yaml"]}
    with ClusterRpcClient(accepting, priority=4, headers={"extra": "x"}, serializer="yaml") as cluster:
        properties = cluster.desk.tell_properties()
    assert (properties["priority"], properties["content_type"]) == (4, "application/x-yaml")
    assert properties["headers"]["extra"] == "x"


@pytest.mark.parametrize(
    ("options", "text"), [({"retries": 2}, "'retries' is no option"), ({"timeout": "1"}, "timeout='1'")]
)
def test_an_option_that_is_none_is_refused_when_it_is_given(
    config: dict[str, Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError, match=text):
        ClusterRpcClient(config, **options)
    with pytest.raises(TypeError, match=text):
        ClusterRpcClient(config).desk.say.with_options(**options)


# Callbacks


def test_a_callback_is_called_when_the_outcome_is_there(cluster: Any, desk: type[Desk]) -> None:
    call = cluster.desk.hold.call_async("held")
    results: list[Any] = []
    call.add_done_callback(lambda done: results.append((done is call, done.result())))
    assert results == []
    desk.gate.set()
    wait_until(lambda: results, "the callback")
    assert results == [(True, "held")]


def test_a_callback_is_called_at_once_when_the_outcome_is_there_already(cluster: Any) -> None:
    call = cluster.desk.say.call_async("a")
    call.result()
    results: list[Any] = []
    call.add_done_callback(lambda done: results.append(done.result()))
    assert results == ["a"]


def test_a_callback_that_fails_is_logged_and_others_are_called(
    cluster: Any, desk: type[Desk], caplog: pytest.LogCaptureFixture
) -> None:
    call = cluster.desk.hold.call_async("held")
    results: list[Any] = []
    call.add_done_callback(lambda done: 1 / 0)
    call.add_done_callback(lambda done: results.append(done.result()))
    with caplog.at_level(logging.ERROR):
        desk.gate.set()
        wait_until(lambda: results, "the second callback")
    assert "a callback of the call desk.hold failed" in caplog.text


def test_a_callback_hears_of_a_timeout_that_nobody_waits_for(cluster: Any) -> None:
    call = cluster.desk.hold.with_options(timeout=0.05).call_async("held")
    errors: list[bool] = []
    call.add_done_callback(lambda done: errors.append(done.is_done()))
    wait_until(lambda: errors, "the time-out")
    with pytest.raises(RpcTimeout):
        call.result()


# What travels with calls


def test_context_data_travels_with_each_call(desk: type[Desk], config: dict[str, Any]) -> None:
    with ClusterRpcClient(config, context_data={"language": "de"}) as cluster:
        assert cluster.desk.tell_context()["language"] == "de"


def test_one_connection_serves_many_contexts(client: ClusterRpcClient) -> None:
    ours, theirs = client.with_context({"user_id": 1}), client.with_context({"user_id": 2})
    assert (ours.desk.tell_context()["user_id"], theirs.desk.tell_context()["user_id"]) == (1, 2)


def test_each_call_has_an_id_that_names_the_client(cluster: Any) -> None:
    """As nameko 3 does: client, client's id, call's id."""
    stacks = [cluster.desk.tell_context()["call_id_stack"] for _ in range(2)]
    parents = [stack[0] for stack in stacks]
    pattern = rf"standalone_rpc_client\.({UUID})\.({UUID})"
    (first, second) = (re.fullmatch(pattern, parent) for parent in parents)
    assert first is not None and second is not None
    assert first[1] == second[1] and first[2] != second[2]
    assert [len(stack) for stack in stacks] == [2, 2]


def test_a_call_stack_that_is_given_goes_on(client: ClusterRpcClient) -> None:
    stack = client.with_context({"call_id_stack": ["web.request.1"]}).desk.tell_context()["call_id_stack"]
    assert stack[0] == "web.request.1" and stack[1].startswith("standalone_rpc_client.")


def test_a_call_stack_is_no_longer_than_the_configuration_says(desk: type[Desk], config: dict[str, Any]) -> None:
    with ClusterRpcClient({**config, "parent_calls_tracked": 0}) as cluster:
        properties = cluster.desk.tell_properties.with_options()()
    assert len(properties["headers"]["nameko.call_id_stack"]) == 1


# How it ends


def test_calls_under_way_fail_when_the_client_is_stopped(client: ClusterRpcClient, desk: type[Desk]) -> None:
    call = client.start().desk.hold.call_async("held")
    wait_until(lambda: desk.entered, "the start of the call")
    client.stop()
    with pytest.raises(ConnectionLost) as caught:
        call.result()
    assert caught.value.maybe_executed is True


def test_a_client_that_is_dropped_gives_its_connection_up(desk: type[Desk], config: dict[str, Any]) -> None:
    client = ClusterRpcClient(config)
    assert client.desk.say("a") == "a"
    session = client._use()[0]
    with pytest.warns(ResourceWarning, match="dropped without stop"):
        del client
        gc.collect()
    assert session.has_ended


def test_a_proxy_keeps_its_client(desk: type[Desk], config: dict[str, Any]) -> None:
    cluster = ClusterRpcClient(config).start()
    gc.collect()
    assert cluster.desk.say("a") == "a"
    cluster._provider._client.stop()


# Threads and greenlets


def test_a_client_in_a_patched_process_runs_on_greenlets(client: ClusterRpcClient) -> None:
    client.start()
    assert client._use()[0].backend is green()


def test_greenlets_of_one_thread_serve_no_other(client: ClusterRpcClient) -> None:
    from eventlet.patcher import original

    cluster = client.start()
    errors: list[str] = []
    done = green().event()

    def call() -> None:
        try:
            cluster.desk.say("a")
        except ConfigError as exc:
            errors.append(str(exc))
        backend.post(done.set)

    backend = green()
    original("threading").Thread(target=call, daemon=True).start()
    assert done.wait(10)
    assert errors and "make a client for each such thread" in errors[0]


# Settings


def test_a_client_waits_ten_seconds_for_a_broker_unless_told_otherwise() -> None:
    waits = (
        client_settings({}),
        client_settings(None),
        client_settings({"startup_timeout": 3}),
        client_settings({"startup_timeout": None}),
        client_settings(Settings()),
    )
    assert [settings.startup_timeout for settings in waits] == [BROKER_WAIT, BROKER_WAIT, 3, None, 60]


def test_the_broker_of_a_client_wins_over_the_configurations() -> None:
    config = {"AMQP_URI": "amqp://a", "AMQP_SSL": {"ca_certs": "a.pem"}, "LOGIN_METHOD": "AMQPLAIN"}
    settings = client_settings(config, uri="amqp://b")
    assert (settings.amqp_uri, settings.amqp_ssl, settings.login_method) == ("amqp://b", None, "AMQPLAIN")
    settings = client_settings(config, ssl=True, login_method="EXTERNAL")
    assert (settings.amqp_uri, settings.amqp_ssl, settings.login_method) == ("amqp://a", True, "EXTERNAL")


def test_settings_are_taken_as_they_are() -> None:
    settings = make_settings({"AMQP_URI": "amqp://a"})
    assert client_settings(settings) == settings


@pytest.mark.parametrize("given", [{"config": {"AMQP_URI": 5}}, {"config": "amqp://a"}, {"uri": "nonsense"}])
def test_a_wrong_setting_is_refused_when_the_client_is_made(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ClusterRpcClient(**given)


def test_a_broker_that_is_down_is_named_with_the_mend() -> None:
    uri = f"amqp://guest:secret@127.0.0.1:{lost_port()}//"
    client = ClusterRpcClient({"AMQP_URI": uri, "startup_timeout": 0.1})
    with pytest.raises(BrokerUnavailable, match=r"within 0\.1 s: .*ECONNREFUSED; start it, correct AMQP_URI") as caught:
        client.start()
    assert "secret" not in str(caught.value)


def test_a_call_waits_for_the_first_connection_no_longer_than_it_may_take() -> None:
    client = ClusterRpcClient({"AMQP_URI": f"amqp://guest:secret@127.0.0.1:{lost_port()}//", "startup_timeout": 5})
    began = monotonic()
    text = r"nothing was sent: .* not connected yet, after 0\.1 s: broker at amqp://.*;"
    with pytest.raises(ConnectionLost, match=text) as caught:
        client.desk.say.with_options(timeout=0.1)("a")
    assert monotonic() - began < 3
    assert "secret" not in str(caught.value)
    assert "ECONNREFUSED; start the broker, correct AMQP_URI, or give it more time" in str(caught.value)
    client.stop()


def test_a_client_that_could_not_start_can_try_again(desk: type[Desk], config: dict[str, Any]) -> None:
    client = ClusterRpcClient({**config, "startup_timeout": 0.1}, uri=f"amqp://127.0.0.1:{lost_port()}//")
    with pytest.raises(BrokerUnavailable):
        client.start()
    client._config = make_settings(config)
    with client as cluster:
        assert cluster.desk.say("now") == "now"
