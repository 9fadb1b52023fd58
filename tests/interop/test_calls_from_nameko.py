"""nameko calls our services: by its standalone client and from inside its own services."""

from typing import Any

import pytest
from json_process import JsonProcess

from rpcservice import ServiceRunner

pytestmark = pytest.mark.usefixtures("our_shops")


def _call(client: JsonProcess, method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return client.ask(op="call", service="our_shop", method=method, args=args, kwargs=kwargs)


def test_a_nameko_client_gets_our_result(nameko_client: JsonProcess) -> None:
    assert _call(nameko_client, "add", 2, 3)["result"] == 5


def test_namekos_client_for_one_service_gets_our_result(nameko_client: JsonProcess) -> None:
    answer = nameko_client.ask(op="call_one_service", service="our_shop", method="add", args=[2], kwargs={"right": 5})
    assert answer["result"] == 7


def test_keyword_arguments_arrive(nameko_client: JsonProcess) -> None:
    assert _call(nameko_client, "add", 2, right=40)["result"] == 42


def test_text_in_any_script_makes_the_round_trip(nameko_client: JsonProcess) -> None:
    text = "Übergröße 漢字 \u0000 🧭 'quoted' \"twice\""
    assert _call(nameko_client, "echo", text, schlüssel=text)["result"] == {
        "args": [text],
        "kwargs": {"schlüssel": text},
    }


def test_every_json_value_makes_the_round_trip(nameko_client: JsonProcess) -> None:
    value = {"none": None, "yes": True, "float": 1.5, "big": 2**60, "list": [[], {}, ""]}
    assert _call(nameko_client, "echo", value)["result"]["args"] == [value]


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
def test_a_megabyte_makes_the_round_trip(nameko_client: JsonProcess, serializer: str) -> None:
    """It takes several frames each way."""
    answer = nameko_client.ask(
        op="call_with_big_argument", service="our_shop", method="echo", size=1_200_000, serializer=serializer
    )
    assert answer["result"] == 1_200_000


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_a_reply_is_in_the_serializer_of_the_request(nameko_client: JsonProcess, serializer: str) -> None:
    """nameko accepts no other than its own."""
    answer = nameko_client.ask(op="call", service="our_shop", method="add", args=[2, 3], serializer=serializer)
    assert answer["result"] == 5


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_an_error_is_in_the_serializer_of_the_request(nameko_client: JsonProcess, serializer: str) -> None:
    answer = nameko_client.ask(op="call", service="our_shop", method="sell_out", serializer=serializer)
    assert (answer["type"], answer["args"]) == ("OutOfStock", ["lamp", "7"])


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_dates_and_numbers_of_nameko_come_back_equal(nameko_client: JsonProcess, serializer: str) -> None:
    answer = nameko_client.ask(op="call_with_types", service="our_shop", method="echo", serializer=serializer)
    assert answer["result"] == ["datetime", "datetime", "date", "time", "Decimal", "UUID"]


def test_many_calls_of_one_client_get_their_own_results(nameko_client: JsonProcess) -> None:
    answer = nameko_client.ask(op="call_many", service="our_shop", method="add", arguments=list(range(40)))
    assert answer["result"] == list(range(40, 0, -1))


def test_a_nameko_service_calls_ours(nameko_shops: list[JsonProcess], nameko_client: JsonProcess) -> None:
    answer = nameko_client.ask(op="call", service="nameko_shop", method="ask_ours", args=["add", 2, 5])
    assert answer["result"] == 7


def test_many_calls_of_a_nameko_service_get_their_own_results(
    nameko_shops: list[JsonProcess], nameko_client: JsonProcess
) -> None:
    answer = nameko_client.ask(
        op="call", service="nameko_shop", method="ask_ours_many_times", args=["add", list(range(40))]
    )
    assert answer["result"] == list(range(40, 0, -1))


def test_namekos_options_of_publishing_are_taken(nameko_shops: list[JsonProcess], nameko_client: JsonProcess) -> None:
    """Compressed both ways, with a priority and an expiration, transient, with a header of its own."""

    def ask(method: str, *args: Any) -> Any:
        return nameko_client.ask(op="call", service="nameko_shop", method="ask_ours_packed", args=[method, *args])

    assert ask("echo", "x" * 10_000)["result"]["args"] == ["x" * 10_000]
    assert ask("see_context")["result"]["own"] == "ü"
    assert ask("sell_out")["type"] == "OutOfStock"


def test_an_unknown_method_is_namekos_method_not_found(nameko_client: JsonProcess) -> None:
    answer = _call(nameko_client, "nope")
    assert (answer["module"], answer["type"], answer["args"]) == ("nameko.exceptions", "MethodNotFound", ["nope"])


def test_arguments_that_do_not_fit_are_namekos_incorrect_signature(nameko_client: JsonProcess) -> None:
    answer = _call(nameko_client, "add")
    assert (answer["module"], answer["type"]) == ("nameko.exceptions", "IncorrectSignature")
    assert "missing a required argument: 'left'" in answer["text"]


def test_an_application_error_is_namekos_remote_error(nameko_client: JsonProcess) -> None:
    answer = _call(nameko_client, "fail")
    assert (answer["type"], answer["text"]) == ("RemoteError", "ValueError ('no', 3)")


def test_a_registered_application_error_comes_as_itself(nameko_client: JsonProcess) -> None:
    """Arguments that are no text come as text, as from nameko."""
    answer = _call(nameko_client, "sell_out")
    assert (answer["module"], answer["type"], answer["args"]) == ("shop_errors", "OutOfStock", ["lamp", "7"])


def test_a_nameko_service_catches_our_errors_by_class(nameko_shops: Any, nameko_client: JsonProcess) -> None:
    caught = nameko_client.ask(op="call", service="nameko_shop", method="catch_of_ours", args=["sell_out"])["result"]
    assert (caught["module"], caught["type"]) == ("shop_errors", "OutOfStock")


def test_a_result_that_cannot_be_encoded_names_it(nameko_client: JsonProcess) -> None:
    answer = _call(nameko_client, "unserializable")
    assert answer["type"] == "RemoteError"
    assert answer["text"].startswith("UnserializableValueError Unserializable value: `<object object at")


def test_a_service_that_nobody_offers_is_unknown(nameko_client: JsonProcess) -> None:
    answer = nameko_client.ask(op="call", service="nobody_there", method="anything")
    assert answer["type"] == "UnknownService"


def test_requests_are_spread_over_instances(our_shops: list[ServiceRunner], nameko_client: JsonProcess) -> None:
    """Both instances consume from nameko's one queue of the service."""
    answers = [_call(nameko_client, "see_instance")["result"] for _ in range(4)]
    assert len(set(answers)) == 2
