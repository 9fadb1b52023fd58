"""Requests that leave nameko's caller without an answer, or end its service: ours answers, and goes on."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from json_process import JsonProcess
from nameko_process import HERE, nameko_shops
from our_services import OurShop
from raw_caller import UNDECODABLE, RawCaller, call_body, reply_value
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice.testing import RabbitMQNode

DEADLY: dict[str, dict[str, Any]] = {
    "no_reply_to": {"reply_to": None},
    "no_content_type": {"content_type": None},
    "call_id_stack": {"application_headers": {"nameko.call_id_stack": 5}},
    "get_dependency": {"application_headers": {"nameko.trouble": "get_dependency"}},
    "worker_setup": {"application_headers": {"nameko.trouble": "worker_setup"}},
}
AFTER_THE_REPLY: dict[str, dict[str, Any]] = {
    "worker_result": {"application_headers": {"nameko.trouble": "worker_result"}},
    "worker_teardown": {"application_headers": {"nameko.trouble": "worker_teardown"}},
}
ANSWERS = {
    "no_content_type": ("MalformedRequest", "content type None is not accepted here"),
    "get_dependency": ("RuntimeError", "trouble in get_dependency"),
    "worker_setup": ("RuntimeError", "trouble in worker_setup"),
    "worker_result": ("RuntimeError", "trouble in worker_result"),
}


@pytest.fixture
def nameko(rabbitmq_uri: str, namekos_python: str, tmp_path: Path) -> Iterator[JsonProcess]:
    """A service of nameko that may die."""
    with nameko_shops(namekos_python, rabbitmq_uri, ["mortal"], tmp_path) as (shop,):
        yield shop


@pytest.fixture(scope="module")
def drop_in(rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawCaller]:
    """A caller of the same service of nameko's, run by us."""
    uri = rabbitmq.vhost()
    with nameko_shops(sys.executable, uri, ["immortal"], tmp_path_factory.mktemp("drop-in")), RawCaller(uri) as raw:
        yield raw
    rabbitmq.delete_vhost(uri)


@pytest.fixture
def ours(container_factory: Any) -> ServiceContainer:
    container: ServiceContainer = container_factory(OurShop, {"ACCEPT": ["json", "pickle"]})
    container.start()
    return container


@pytest.fixture
def caller(rabbitmq_uri: str) -> Iterator[RawCaller]:
    with RawCaller(rabbitmq_uri) as raw:
        yield raw


@pytest.fixture
def nameko_caller(rabbitmq_uri: str, namekos_python: str, tmp_path: Path) -> Iterator[JsonProcess]:
    """nameko's standalone client."""
    command = [namekos_python, str(HERE / "nameko_client.py"), rabbitmq_uri]
    with JsonProcess(command, tmp_path / "client.log") as client:
        client.wait_for(ready=True)
        yield client


def test_nameko_answers_nothing_that_it_cannot_decode(nameko: JsonProcess, caller: RawCaller) -> None:
    """The one answer that comes is that to the request after them."""
    for request in UNDECODABLE.values():
        caller.send("nameko_shop.add", **request)
    assert caller.ask_for_json("nameko_shop.add", call_body(1)) == {"result": 2, "error": None}


@pytest.mark.parametrize("name", ["no_reply_to", "no_content_type", "call_id_stack", "get_dependency"])
def test_nameko_dies_and_the_request_waits_for_its_next_victim(
    nameko: JsonProcess, caller: RawCaller, rabbitmq: RabbitMQNode, rabbitmq_uri: str, name: str
) -> None:
    caller.send("nameko_shop.add", call_body(1), **DEADLY[name])
    assert nameko.wait() != 0
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-nameko_shop"]["messages_ready"] == 1)
    with pytest.raises(socket.timeout):
        caller.reply(timeout=0.1)


def test_nameko_dies_after_its_reply(nameko: JsonProcess, caller: RawCaller) -> None:
    assert caller.ask_for_json("nameko_shop.add", call_body(1), **AFTER_THE_REPLY["worker_result"])["result"] == 2
    assert nameko.wait() != 0


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("name", ANSWERS)
def test_ours_answers_with_the_error(caller: RawCaller, rabbitmq: RabbitMQNode, rabbitmq_uri: str, name: str) -> None:
    reply = caller.ask_for_json("our_shop.add", call_body(1), **{**DEADLY, **AFTER_THE_REPLY}[name])
    type_name, text = ANSWERS[name]
    assert reply["error"]["exc_type"] == type_name
    assert reply["error"]["value"].startswith(text)
    assert caller.ask_for_json("our_shop.add", call_body(2))["result"] == 3
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-our_shop"]["messages"] == 0)


@pytest.mark.usefixtures("ours")
def test_ours_goes_on_after_a_teardown_that_fails(caller: RawCaller, caplog: pytest.LogCaptureFixture) -> None:
    reply = caller.ask_for_json("our_shop.add", call_body(1), **AFTER_THE_REPLY["worker_teardown"])
    assert reply == {"result": 2, "error": None}
    assert caller.ask_for_json("our_shop.add", call_body(2))["result"] == 3
    assert "trouble in worker_teardown" in caplog.text


@pytest.mark.usefixtures("ours")
def test_ours_goes_on_after_a_request_without_reply_to(
    caller: RawCaller, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    caller.send("our_shop.add", call_body(1), reply_to=None)
    assert caller.ask_for_json("our_shop.add", call_body(2))["result"] == 3
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-our_shop"]["messages"] == 0)


@pytest.mark.usefixtures("ours")
def test_ours_begins_a_call_stack_where_none_came(caller: RawCaller) -> None:
    reply = caller.ask_for_json("our_shop.see_context", **DEADLY["call_id_stack"])
    assert [call_id.rpartition(".")[0] for call_id in reply["result"]["call_id_stack"]] == ["our_shop.see_context"]


@pytest.mark.usefixtures("ours")
def test_a_nameko_caller_learns_that_its_serializer_is_not_accepted(nameko_caller: JsonProcess) -> None:
    """It accepts no other than its own, so the answer has to be in that; nameko's service would leave it waiting."""
    answer = nameko_caller.ask(op="call", service="our_shop", method="add", args=[1], serializer="yaml", timeout=5)
    assert (answer["module"], answer["type"]) == ("nameko.exceptions", "MalformedRequest")
    assert "is not accepted here" in answer["text"]


@pytest.mark.usefixtures("ours")
def test_a_nameko_caller_learns_what_went_wrong_in_a_hook(nameko_caller: JsonProcess) -> None:
    for hook in ("get_dependency", "worker_setup", "worker_result"):
        answer = nameko_caller.ask(op="call", service="our_shop", method="add", args=[1], context={"trouble": hook})
        assert (answer["type"], answer["text"]) == ("RemoteError", f"RuntimeError trouble in {hook}")


@pytest.mark.parametrize("name", ["no_content_type", "get_dependency", "worker_setup"])
def test_namekos_service_run_by_us_answers_with_the_error(drop_in: RawCaller, name: str) -> None:
    type_name, text = ANSWERS[name]
    error = drop_in.ask_for_json("nameko_shop.add", call_body(1), **DEADLY[name])["error"]
    assert error["exc_type"] == type_name
    assert error["value"].startswith(text)


@pytest.mark.parametrize("name", AFTER_THE_REPLY)
def test_namekos_service_run_by_us_goes_on_after_its_reply(drop_in: RawCaller, name: str) -> None:
    """The reply goes out before these hooks, as in nameko."""
    assert drop_in.ask_for_json("nameko_shop.add", call_body(1), **AFTER_THE_REPLY[name])["result"] == 2
    assert drop_in.ask_for_json("nameko_shop.add", call_body(2))["result"] == 3


def test_namekos_service_run_by_us_goes_on_after_a_request_without_reply_to(drop_in: RawCaller) -> None:
    drop_in.send("nameko_shop.add", call_body(1), reply_to=None)
    assert drop_in.ask_for_json("nameko_shop.add", call_body(2))["result"] == 3


@pytest.mark.parametrize("name", UNDECODABLE)
def test_namekos_service_run_by_us_answers_what_it_cannot_decode(drop_in: RawCaller, name: str) -> None:
    reply = drop_in.ask("nameko_shop.add", **UNDECODABLE[name])
    assert reply_value(reply)["error"]["exc_type"] == "MalformedRequest"
