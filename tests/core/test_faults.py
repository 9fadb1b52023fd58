"""Exceptions as data, and back."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from rpcservice import deserialize_to_instance
from rpcservice.core.faults import error_from_data, error_to_data, module_path, safe
from rpcservice.errors import (
    DeclarationError,
    IncorrectSignature,
    MalformedRequest,
    MethodNotFound,
    RemoteError,
    UnserializableValueError,
)


@deserialize_to_instance
class OutOfStock(Exception):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(sku, left)
        self.left = left


@deserialize_to_instance(code="shop.closed")
class Closed(Exception):
    """Has a code that outlives a move to another module."""


class Unregistered(Exception):
    """Comes back as RemoteError."""


def test_an_error_has_namekos_fields() -> None:
    assert error_to_data(Unregistered("a", 1)) == {
        "exc_type": "Unregistered",
        "exc_path": f"{__name__}.Unregistered",
        "exc_args": ["a", "1"],
        "value": "('a', 1)",
    }


@pytest.mark.parametrize(
    "error",
    [MethodNotFound("buy"), IncorrectSignature("no a"), MalformedRequest("no body")],
    ids=lambda e: type(e).__name__,
)
def test_errors_that_nameko_knows_have_namekos_path_and_come_back(error: Exception) -> None:
    data = error_to_data(error)
    assert data["exc_path"] == f"nameko.exceptions.{type(error).__name__}"
    back = error_from_data(data)
    assert (type(back), back.args) == (type(error), error.args)


def test_method_not_found_keeps_namekos_args_and_brings_the_names() -> None:
    data = error_to_data(MethodNotFound("buy", ("sell",), "shop"))
    assert (data["exc_args"], data["names"]) == (["buy"], ["sell"])
    back = error_from_data(data)
    assert isinstance(back, MethodNotFound)
    assert (back.method_name, back.names) == ("buy", ("sell",))


def test_a_registered_exception_comes_back_as_itself() -> None:
    back = error_from_data(error_to_data(OutOfStock("sku-1", 2)))
    assert isinstance(back, OutOfStock)
    assert back.args == ("sku-1", "2")


def test_an_exception_with_a_code_comes_back_from_another_module() -> None:
    data = {**error_to_data(Closed("sunday")), "exc_path": "elsewhere.Shut"}
    assert data["code"] == "shop.closed"
    assert isinstance(error_from_data(data), Closed)


def test_a_code_stands_for_one_class() -> None:
    with pytest.raises(DeclarationError, match=r"'shop\.closed' stands for .*Closed already; give .*Other a code"):

        @deserialize_to_instance(code="shop.closed")
        class Other(Exception):
            """Wants the same code."""


def test_an_attribute_code_registers_as_well() -> None:
    @deserialize_to_instance
    class Late(Exception):
        code = "shop.late"

    assert isinstance(error_from_data({"code": "shop.late", "exc_args": ["x"]}), Late)


def test_an_unregistered_exception_comes_back_as_remote_error() -> None:
    back = error_from_data(error_to_data(Unregistered("why")))
    assert isinstance(back, RemoteError)
    assert (back.exc_type, back.value, str(back)) == ("Unregistered", "why", "Unregistered why")


def test_an_exception_that_cannot_be_rebuilt_comes_back_as_remote_error() -> None:
    back = error_from_data({**error_to_data(OutOfStock("sku-1", 2)), "exc_args": ["only one"]})
    assert isinstance(back, RemoteError)
    assert back.exc_type == "OutOfStock"


def test_an_unserializable_value_comes_back_with_its_repr() -> None:
    error = UnserializableValueError(object)
    assert error.value == error.repr_value == repr(object)
    back = error_from_data(error_to_data(error))
    assert isinstance(back, UnserializableValueError)
    assert back.value == "<class 'object'>"
    assert str(back) == str(error)
    assert isinstance(back, RemoteError), "as with nameko, whose callers know the class by its name only"
    assert (back.exc_type, back.remote_traceback) == ("UnserializableValueError", None)


def test_the_traceback_travels_only_on_demand() -> None:
    try:
        raise Unregistered("here")
    except Unregistered as exc:
        assert "traceback" not in error_to_data(exc)
        data = error_to_data(exc, send_traceback=True)
    back = error_from_data(data)
    assert isinstance(back, RemoteError)
    assert "test_the_traceback_travels_only_on_demand" in str(back.remote_traceback)


@pytest.mark.parametrize("data", [None, "text", 7, [], {}, {"exc_args": 5, "exc_path": None}])
def test_whatever_comes_as_an_error_is_one(data: Any) -> None:
    assert isinstance(error_from_data(data), RemoteError)


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words")


class Cursor:
    def __iter__(self) -> Iterator[str]:
        raise ValueError("the cursor is closed")

    def __str__(self) -> str:
        return "a cursor"


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (7, "7"),
        ({"a": {1: None}}, {"a": {"1": "None"}}),
        ((1, [2]), ["1", ["2"]]),
        (Unspeakable(), "[__unicode__ failed]"),
        (Cursor(), "a cursor"),
        (ITSELF, "[[...]]"),
        ({(1, 2): "pair"}, "{(1, 2): 'pair'}"),
        (count(7), "count(7)"),
    ],
)
def test_arguments_become_text_that_any_serializer_takes(value: Any, expected: Any) -> None:
    assert safe(value) == expected


def test_other_errors_of_this_package_have_their_own_path() -> None:
    assert module_path(RemoteError) == "rpcservice.errors.RemoteError"
