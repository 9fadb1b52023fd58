"""Context data travels through nameko and through us."""

from typing import Any

import pytest
from json_process import JsonProcess
from raw_caller import RawCaller

pytestmark = pytest.mark.usefixtures("nameko_shops", "our_shops")

CONTEXT = {"language": "de", "user_id": 7, "auth_token": "secret", "own_key": {"nested": [1, "ü"]}}


def _through(client: JsonProcess, service: str, method: str, *args: Any) -> dict[str, Any]:
    answer = client.ask(op="call", service=service, method=method, args=args, context=CONTEXT)
    context: dict[str, Any] = answer["result"]
    return context


def test_namekos_context_data_reaches_our_service(nameko_client: JsonProcess) -> None:
    context = _through(nameko_client, "our_shop", "see_context")
    assert {key: context[key] for key in CONTEXT} == CONTEXT


def test_the_call_stack_of_a_nameko_client_grows_by_our_call(nameko_client: JsonProcess, nameko_version: int) -> None:
    first, second = _through(nameko_client, "our_shop", "see_context")["call_id_stack"]
    assert first.startswith("standalone_rpc_proxy.call." if nameko_version == 2 else "standalone_rpc_client.")
    assert second.startswith("our_shop.see_context.")


def test_context_data_goes_through_us_to_nameko(nameko_client: JsonProcess) -> None:
    context = _through(nameko_client, "our_shop", "ask_theirs", "see_context")
    assert {key: context[key] for key in CONTEXT} == CONTEXT


def test_context_data_goes_through_nameko_us_and_nameko(nameko_client: JsonProcess) -> None:
    context = _through(nameko_client, "nameko_shop", "ask_ours", "ask_theirs", "see_context")
    assert {key: context[key] for key in CONTEXT} == CONTEXT


def test_the_call_stack_names_every_hop_in_order(nameko_client: JsonProcess) -> None:
    stack = _through(nameko_client, "nameko_shop", "ask_ours", "ask_theirs", "see_context")["call_id_stack"]
    assert [call_id.rpartition(".")[0] for call_id in stack[1:]] == [
        "nameko_shop.ask_ours",
        "our_shop.ask_theirs",
        "nameko_shop.see_context",
    ]


def test_our_own_headers_and_the_brokers_never_become_context_data(raw_caller: RawCaller) -> None:
    """nameko copies headers that it does not know and sends them on with its prefix."""
    headers = {
        "rpcservice-attempt": "1",
        "nameko.rpcservice-attempt": "1",
        "x-death": "a",
        "nameko.x-death": "b",
        "nameko.language": "fr",
        "bare": "yes",
    }
    context = raw_caller.ask_for_json("our_shop.see_context", application_headers=headers)["result"]
    assert context.pop("call_id_stack")
    assert context == {"language": "fr", "bare": "yes"}
