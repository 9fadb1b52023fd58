"""How RPC calls fail: each with its cause, and none with harm to the others."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo, OutOfStock, Slow, connections_of, counted, journal_of

from rpcservice import rpc as rpc_method
from rpcservice.amqp.message import LONGEST_EXPIRATION
from rpcservice.core.faults import error_from_data
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import (
    IncorrectSignature,
    MessageTooLarge,
    MethodNotFound,
    RemoteError,
    UnserializableValueError,
)

pytestmark = pytest.mark.usefixtures("broker")

Start = Callable[..., ServiceRunner]


def test_an_unknown_method_is_named_with_those_that_exist(start: Start, rpc: Any) -> None:
    start(Slow)
    with pytest.raises(MethodNotFound) as caught:
        rpc.slow.quik()
    error = caught.value
    assert str(error) == "service 'slow' has no @rpc method 'quik'; it has: quick, wait"
    assert (error.args, error.names, error.method_name, error.service_name) == (
        ("quik",),
        ("quick", "wait"),
        "quik",
        "slow",
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing a required argument: 'left'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"up": 2}, "got an unexpected keyword argument 'up'"),
        ((1,), {"left": 2}, "multiple values for argument 'left'"),
    ],
)
def test_arguments_that_do_not_fit_start_no_worker(
    start: Start, rpc: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    runner = start(counted())
    with pytest.raises(IncorrectSignature, match=text):
        rpc.counted.add(*args, **kwargs)
    assert journal_of(runner) == []


def test_an_exception_comes_as_remote_error(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(RemoteError, match=r"^ValueError why$") as caught:
        rpc.echo.fail("why")
    error = caught.value
    assert (error.exc_type, error.value, error.code, error.remote_traceback) == ("ValueError", "why", None, None)


def test_the_remote_traceback_comes_where_the_service_sends_it(start: Start, rpc: Any) -> None:
    start(Echo, send_traceback=True)
    with pytest.raises(RemoteError) as caught:
        rpc.echo.fail("why")
    assert caught.value.remote_traceback is not None
    assert "in fail\n    raise ValueError(*args)" in caught.value.remote_traceback


def test_a_registered_exception_comes_as_itself(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(OutOfStock) as caught:
        rpc.echo.run_out()
    assert caught.value.args == ("sku-1", "3")


def test_a_code_finds_a_class_that_has_moved(start: Start, wire: Any, rpc: Any) -> None:
    start(Echo)
    error = json.loads(wire.request("echo.run_out").body)["error"]
    assert (error["code"], error["exc_path"]) == ("test_rpc.out_of_stock", f"{OutOfStock.__module__}.OutOfStock")
    assert type(error_from_data({**error, "exc_path": "elsewhere.OutOfStock"})) is OutOfStock


def test_a_registered_exception_that_cannot_be_rebuilt_is_a_remote_error(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(RemoteError, match="NeedsMore sku-1 has 3 left"):
        rpc.echo.need_more()


def test_a_result_that_cannot_be_encoded_is_named(start: Start, rpc: Any) -> None:
    start(counted())
    with pytest.raises(UnserializableValueError, match="Unserializable value: `<object object at"):
        rpc.counted.odd()


def test_an_argument_that_cannot_be_encoded_is_not_sent(start: Start, rpc: Any) -> None:
    runner = start(counted())
    with pytest.raises(UnserializableValueError, match="<object object at"):
        rpc.counted.add(object())
    assert rpc.counted.add(1) == 2
    assert journal_of(runner).count("method") == 1


@pytest.mark.parametrize("hook", ["get_dependency", "worker_setup", "worker_result"])
def test_an_error_in_a_hook_fails_that_call_with_its_cause(
    start: Start, rpc: Any, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    runner = start(counted(hook))
    for _ in range(2):
        with pytest.raises(RemoteError, match=f"RuntimeError broken {hook}"):
            rpc.counted.add(1)
    assert f"broken {hook}" in caplog.text
    assert not runner.containers["counted"].is_stopping


def test_an_error_in_worker_teardown_is_logged_after_the_answer(
    start: Start, rpc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(counted("worker_teardown"))
    assert [rpc.counted.add(1), rpc.counted.add(2)] == [2, 3]
    assert "worker_teardown failed" in caplog.text


def test_expected_exceptions_are_warnings_in_the_log(start: Start, rpc: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Strict:
        name = "strict"

        @rpc_method(expected_exceptions=ValueError)
        def expected(self) -> None:
            raise ValueError("expected")

        @rpc_method(expected_exceptions=ValueError)
        def unexpected(self) -> None:
            raise KeyError("unexpected")

    start(Strict)
    for method in ("expected", "unexpected"):
        with pytest.raises(RemoteError):
            rpc.strict[method]()
    levels = {record.levelno for record in caplog.records if "ValueError: expected" in record.getMessage()}
    assert levels == {logging.WARNING}
    levels = {record.levelno for record in caplog.records if "KeyError: 'unexpected'" in record.getMessage()}
    assert levels == {logging.ERROR}


# Sizes


def test_headers_that_fit_into_no_frame_fail_only_their_call(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller)
    (connection,) = connections_of(runner)
    link = connection.link

    def work(caller: Any) -> Any:
        pending = caller.cluster.echo.add.call_async(1)
        with pytest.raises(MessageTooLarge, match=r"the message's headers has 14[0-9]* bytes"):
            caller.cluster.echo.add.with_options(headers={"large": "x" * 140_000})(1)
        return pending.result(), caller.cluster.echo.add(2)

    assert run_in(runner, work) == (2, 3)
    assert connection.link is link


def test_context_data_that_no_header_holds_fails_only_its_call(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller)
    with pytest.raises(UnserializableValueError, match=r"nameko\.odd"):
        run_in(runner, lambda caller: caller.cluster.echo.add(1), odd=object())
    assert run_in(runner, lambda caller: caller.cluster.echo.add(1)) == 2


def test_a_method_name_that_is_too_long_fails_only_its_call(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(MessageTooLarge, match="routing key has 305 bytes, at most 255"):
        rpc.echo["x" * 300]()
    assert rpc.echo.add(1) == 2


def test_a_request_that_is_too_large_is_not_sent(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller, max_message_size=1000)
    with pytest.raises(MessageTooLarge, match="at most 1000 are allowed") as caught:
        run_in(runner, lambda caller: caller.cluster.echo.args("x" * 1000))
    assert caught.value.part == "body"


@pytest.mark.parametrize(("method", "part"), [("large", "body"), ("fail_large", "error reply")])
def test_a_reply_that_is_too_large_becomes_an_error(start: Start, rpc: Any, method: str, part: str) -> None:
    start(Echo, max_message_size=1000)
    with pytest.raises(MessageTooLarge, match=f"message's {part} has [0-9]+ bytes, at most 1000 are allowed") as caught:
        rpc.echo[method](2000)
    assert (caught.value.part, caught.value.size > 2000, caught.value.limit) == (part, True, 1000)
    assert rpc.echo.add(1) == 2


def test_an_option_that_the_broker_refuses_fails_only_its_call(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller)

    def work(caller: Any) -> Any:
        pending = caller.cluster.echo.add.call_async(1)
        with pytest.raises(ValueError, match="expiration is -1"):
            caller.cluster.echo.add.with_options(expiration=-1)(1)
        return pending.result(), caller.cluster.echo.add(2)

    assert run_in(runner, work) == (2, 3)


def test_the_longest_expiration_is_taken_by_the_broker(start: Start, rpc: Any) -> None:
    start(Echo)
    assert rpc.echo.add.with_options(expiration=LONGEST_EXPIRATION)(1) == 2
