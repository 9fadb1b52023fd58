"""Our clients for programs that are no services call nameko's services, beside nameko's own clients."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from json_process import JsonProcess
from nameko_process import HERE

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")

either_shop = pytest.mark.parametrize("shop", ["nameko_shop", "our_shop"])
CONTEXT = {"language": "de", "user_id": 7, "auth_token": "secret", "own_key": {"nested": [1, "ü"]}}


@pytest.fixture(scope="module")
def standalone(interop_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JsonProcess]:
    """Our standalone clients, in a process of their own that nothing has patched."""
    log = tmp_path_factory.mktemp("ours") / "client.log"
    with JsonProcess([sys.executable, str(HERE / "our_client.py"), interop_uri], log) as client:
        client.wait_for(ready=True)
        yield client


@pytest.fixture(params=["ours", "nameko"])
def client(request: pytest.FixtureRequest, standalone: JsonProcess, nameko_client: JsonProcess) -> JsonProcess:
    """Each of the two frameworks' clients in turn; they are to be alike."""
    return standalone if request.param == "ours" else nameko_client


@either_shop
def test_the_client_for_all_services_gets_the_result(client: JsonProcess, shop: str) -> None:
    answer = client.ask(op="call", service=shop, method="add", args=[2], kwargs={"right": 5})
    assert answer["result"] == 7


@either_shop
def test_the_client_for_one_service_gets_the_result(client: JsonProcess, shop: str) -> None:
    answer = client.ask(op="call_one_service", service=shop, method="add", args=[2], kwargs={"right": 5})
    assert answer["result"] == 7


@either_shop
def test_context_data_travels_with_each_call(client: JsonProcess, shop: str) -> None:
    context = client.ask(op="call", service=shop, method="see_context", context={**CONTEXT, "none": None})["result"]
    first, second = context.pop("call_id_stack")
    # nameko takes the deadline of our calls for context data.
    context.pop("rpcservice-deadline", None)
    assert context == CONTEXT
    assert first.startswith(("standalone_rpc_client.", "standalone_rpc_proxy."))
    assert second.startswith(f"{shop}.see_context.")


@either_shop
def test_a_time_out_leaves_the_client_usable(client: JsonProcess, shop: str) -> None:
    """The late reply to the first call is nobody's; nameko 3 looks at its clock once a second."""
    answer = client.ask(op="call_after_a_time_out", service=shop, slow_method="hold", args=[1.4], method="add")
    assert (answer["first"], answer["result"]) == ("RpcTimeout", 2)


@either_shop
@pytest.mark.parametrize(
    ("method", "args", "type_name"),
    [
        ("nope", [], "MethodNotFound"),
        ("add", [], "IncorrectSignature"),
        ("fail", [], "RemoteError"),
        ("sell_out", [], "OutOfStock"),
    ],
)
def test_both_frameworks_clients_raise_the_same(
    standalone: JsonProcess, nameko_client: JsonProcess, shop: str, method: str, args: list[Any], type_name: str
) -> None:
    answers = [client.ask(op="call", service=shop, method=method, args=args) for client in (standalone, nameko_client)]
    assert [answer["type"] for answer in answers] == [type_name] * 2
    assert answers[0]["args"] == answers[1]["args"]


def test_a_service_that_nobody_offers_is_unknown(client: JsonProcess) -> None:
    assert client.ask(op="call", service="nobody_there", method="add")["type"] == "UnknownService"


@either_shop
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_any_serializer_does(client: JsonProcess, shop: str, serializer: str) -> None:
    # PyYAML needs seconds for a megabyte.
    size = 1_000 if serializer == "yaml" else 1_000_000
    value = {"ü": [1, 1.5, None, True, "漢字"], "big": "x" * size}
    answer = client.ask(op="call", service=shop, method="length", args=[value], serializer=serializer)
    assert answer["result"] == [2, size]


def test_threads_share_one_client_of_ours(standalone: JsonProcess) -> None:
    answer = standalone.ask(op="call_from_threads", service="nameko_shop", method="add", arguments=list(range(32)))
    assert answer["result"] == list(range(1, 33))


def test_a_coroutine_calls_nameko(standalone: JsonProcess) -> None:
    answer = standalone.ask(op="call_from_asyncio", service="nameko_shop", method="add", args=[2, 3])
    assert answer["result"] == 5


def test_events_of_both_frameworks_standalone_dispatchers_arrive(
    client: JsonProcess, nameko_shops: list[JsonProcess], request: pytest.FixtureRequest
) -> None:
    payload = {"ü": 1, "of": request.node.name}
    client.ask(op="dispatch", source="our_shop", event_type="everywhere", payload=payload)
    for shop in nameko_shops:
        shop.wait_for(handler="everywhere", payload=payload)


def test_namekos_dispatcher_needs_an_exchange_that_ours_declares(
    standalone: JsonProcess, nameko_client: JsonProcess
) -> None:
    event = {"op": "dispatch", "source": "nobody_yet", "event_type": "x", "payload": 1}
    assert nameko_client.ask(**event)["type"] == "NotFound"
    assert standalone.ask(**event)["result"] is None
    assert nameko_client.ask(**event)["result"] is None
