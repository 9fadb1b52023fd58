"""AnyInstanceOf."""

from functools import partial
from unittest.mock import Mock

import pytest

from rpcservice.testing import ANY_PARTIAL, AnyInstanceOf


def test_it_equals_instances_of_the_class_and_its_subclasses() -> None:
    assert AnyInstanceOf(int) == 1
    assert AnyInstanceOf(int) == True  # noqa: E712 - a bool is an int


def test_it_differs_from_all_else() -> None:
    assert AnyInstanceOf(int) != "1"
    assert AnyInstanceOf(int) != AnyInstanceOf(str)


def test_it_stands_in_the_assertions_of_mocks() -> None:
    mock = Mock()
    mock("tea", 450)
    mock.assert_called_once_with(AnyInstanceOf(str), AnyInstanceOf(int))
    with pytest.raises(AssertionError, match="<AnyInstanceOf-int>"):
        mock.assert_called_once_with(AnyInstanceOf(int), 450)


def test_any_partial_equals_partials() -> None:
    assert partial(print) == ANY_PARTIAL
    assert print != ANY_PARTIAL


def test_two_of_a_class_are_one_key() -> None:
    """As every object that defines equality, it says how it is hashed."""
    assert hash(AnyInstanceOf(int)) == hash(AnyInstanceOf(int))
