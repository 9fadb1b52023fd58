"""Our clients call nameko's services: from a test and from inside a service of ours."""

import datetime
import decimal
import uuid
from typing import Any

import pytest
from shop_errors import OutOfStock

from rpcservice import IncorrectSignature, MalformedRequest, MethodNotFound, RemoteError, UnknownService
from rpcservice.errors import UnserializableValueError

pytestmark = pytest.mark.usefixtures("nameko_shops")


@pytest.fixture(scope="module")
def shop(our_client: Any) -> Any:
    return our_client["nameko_shop"]


def test_namekos_result_arrives(shop: Any) -> None:
    assert shop.add(2, 3) == 5


def test_keyword_arguments_arrive(shop: Any) -> None:
    assert shop.add(2, right=40) == 42


def test_text_in_any_script_makes_the_round_trip(shop: Any) -> None:
    text = "Übergröße 漢字 \u0000 🧭 'quoted' \"twice\""
    assert shop.echo(text, schlüssel=text) == {"args": [text], "kwargs": {"schlüssel": text}}


def test_a_megabyte_makes_the_round_trip(shop: Any) -> None:
    big = "nameko" * 200_000
    assert shop.echo(big)["args"] == [big]


def test_dates_and_numbers_make_the_round_trip(shop: Any) -> None:
    values = [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC),
        datetime.date(2024, 2, 29),
        decimal.Decimal("12.30"),
        uuid.UUID("b4b5ef8f-2e19-4a6b-a9ae-1d4f1e4f2a11"),
    ]
    assert shop.echo(*values)["args"] == values


def test_many_calls_in_flight_get_their_own_results(shop: Any) -> None:
    calls = [shop.add.call_async(number) for number in range(40)]
    assert [call.result() for call in reversed(calls)] == list(range(40, 0, -1))


def test_an_unknown_method_is_method_not_found(shop: Any) -> None:
    with pytest.raises(MethodNotFound, match="nope") as caught:
        shop.nope()
    assert caught.value.method_name == "nope"


def test_arguments_that_do_not_fit_are_an_incorrect_signature(shop: Any) -> None:
    with pytest.raises(IncorrectSignature, match="'left'"):
        shop.add()


def test_a_malformed_request_comes_as_such(shop: Any) -> None:
    with pytest.raises(MalformedRequest, match="not like this"):
        shop.call_it_malformed()


def test_an_application_error_is_a_remote_error(shop: Any) -> None:
    with pytest.raises(RemoteError, match="ValueError") as caught:
        shop.fail()
    assert (caught.value.exc_type, caught.value.value) == ("ValueError", "('no', 3)")


def test_a_registered_application_error_comes_as_itself(shop: Any) -> None:
    with pytest.raises(OutOfStock) as caught:
        shop.sell_out()
    assert caught.value.args == ("lamp", "7")


def test_a_result_that_cannot_be_encoded_names_it(shop: Any) -> None:
    with pytest.raises(UnserializableValueError, match="<object object at"):
        shop.unserializable()


@pytest.mark.usefixtures("our_shops")
def test_a_service_that_nobody_offers_is_unknown_to_nameko(shop: Any) -> None:
    caught = shop.catch_of_nobody()
    assert (caught["module"], caught["type"]) == ("nameko.exceptions", "UnknownService")


def test_a_service_that_nobody_offers_is_unknown_to_us(our_client: Any) -> None:
    with pytest.raises(UnknownService, match="nobody_there"):
        our_client["nobody_there"].anything()


@pytest.mark.usefixtures("our_shops")
def test_a_service_of_ours_calls_nameko(our_client: Any) -> None:
    assert our_client["our_shop"].ask_theirs("add", 2, 5) == 7


@pytest.mark.usefixtures("our_shops")
def test_our_options_of_publishing_are_taken(our_client: Any) -> None:
    """Compressed, with a priority and an expiration, transient, with a header of its own."""
    packed = our_client["our_shop"].ask_theirs_packed
    assert packed("echo", "x" * 100_000)["args"] == ["x" * 100_000]
    assert packed("see_context")["own"] == "ü"
    with pytest.raises(OutOfStock):
        packed("sell_out")


@pytest.mark.usefixtures("our_shops")
def test_a_call_goes_through_ours_nameko_and_ours_again(our_client: Any) -> None:
    """our_shop asks nameko_shop, which asks our_shop."""
    assert our_client["our_shop"].ask_theirs("ask_ours", "add", 2, 5) == 7
