"""Exceptions that programs make themselves."""

import pickle
import re

import pytest

from rpcservice import errors
from rpcservice.errors import RpcTimeout, UnknownService


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_is_known_by_the_name_of_the_package(name: str) -> None:
    """On the wire, in tracebacks and for pickle, in whichever module it is written down."""
    cls = getattr(errors, name)
    assert f"{cls.__module__}.{cls.__qualname__}" == f"rpcservice.errors.{name}"
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_the_tree_in_the_docstring_is_whole() -> None:
    """It names every error below the one that it is made from."""
    parents: dict[int, str] = {}
    drawn = {}
    for indent, name in re.findall(r"^    ([ │]*[├└]── )?(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        parents[depth] = name
        drawn[name] = parents.get(depth - 1, "Exception")
    own = {name: getattr(errors, name) for name in errors.__all__}
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in own.items()}


def test_a_time_out_that_a_program_makes_has_its_text() -> None:
    """Stand-ins for services raise it with a text of their own, or with none."""
    made = RpcTimeout("nothing came")
    assert (str(made), made.args, made.service_name) == ("nothing came", ("nothing came",), "")
    assert str(RpcTimeout()).startswith("no answer came in time; is the service busy or down?")


def test_an_unknown_service_keeps_its_argument() -> None:
    """So it can be made again from what it was made with."""
    made = UnknownService("orders")
    assert (made.args, made.service_name, made._service_name) == (("orders",), "orders", "orders")
    assert str(made) == "the broker knows no service named 'orders'; is it running, and is this its name?"
    assert str(pickle.loads(pickle.dumps(made))) == str(made)
