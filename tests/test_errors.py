"""Exceptions that programs make themselves."""

import pickle

from rpcservice.errors import RpcTimeout, UnknownService


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
