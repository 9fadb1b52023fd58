"""nameko's exceptions: what of them is on the wire and in the log, and that code written for nameko catches ours."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from under_nameko import standing_in
from wire import Wire

from rpcservice import errors
from rpcservice.core.faults import error_to_data

with standing_in():
    from nameko import exceptions
    from nameko.events import EventHandlerConfigurationError
    from nameko.exceptions import ConfigurationError, MethodNotFound, UnknownService
    from nameko.rpc import ClusterRpc, rpc
    from nameko.runners import ServiceRunner
    from nameko.standalone.rpc import ClusterRpcProxy
    from nameko.testing.services import entrypoint_hook

Serve = Callable[..., Any]

MADE: dict[str, tuple[Any, ...]] = {
    "BadRequest": ("text", 1),
    "CommandError": ("text",),
    "ConfigurationError": ("text",),
    "ConnectionNotFound": ("socket",),
    "ContainerBeingKilled": (),
    "ExtensionNotFound": ("text",),
    "IncorrectSignature": ("text",),
    "MalformedRequest": ("text",),
    "MethodNotFound": ("method",),
    "RemoteError": ("KeyError", "text"),
    "RpcTimeout": ("text",),
    "UnknownService": ("service",),
    "UnserializableValueError": (2.5,),
}
"""The exceptions of nameko's, with the arguments of an instance; all but the one that stands for a lost connection."""

PRINTED = (
    "import json; from nameko import exceptions as e; made = json.loads({made!r}); "
    "print(json.dumps([e.serialize(getattr(e, name)(*args)) for name, args in made.items()]))"
)


class Raising:
    """Raises what it is told to."""

    name = "raising"
    cluster = ClusterRpc()

    @rpc
    def fail(self, name: str) -> None:
        raise getattr(exceptions, name)(*MADE[name])

    @rpc
    def fail_as_ours(self) -> None:
        raise errors.ConfigError("ours")

    @rpc
    def catch(self, service: str, method: str) -> list[str]:
        try:
            self.cluster[service][method]()
        except (MethodNotFound, UnknownService) as exc:
            return [type(exc).__name__, str(exc), *exc.args]
        return []


def described(name: str) -> dict[str, Any]:
    """Give how an instance of a class of the table looks on the wire here."""
    with standing_in():
        data: dict[str, Any] = exceptions.serialize(getattr(exceptions, name)(*MADE[name]))
    return data


def test_the_table_has_every_exception() -> None:
    """But for the one that is an alias."""
    classes = {name for name in exceptions.__all__ if isinstance(getattr(exceptions, name), type)}
    assert classes - {"ReplyQueueExpiredWithPendingReplies"} == set(MADE)


@pytest.mark.interop
@pytest.mark.parametrize("version", [2, 3])
def test_exceptions_look_on_the_wire_as_in_nameko(version: int) -> None:
    """Name, path, arguments and text, one by one."""
    from nameko_environment import nameko_python

    code = PRINTED.format(made=json.dumps(MADE))
    done = subprocess.run([nameko_python(version), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert [described(name) for name in MADE] == json.loads(done.stdout)


@pytest.mark.parametrize("name", MADE)
def test_a_service_answers_with_them_as_nameko_does(serve: Serve, wire: Wire, name: str) -> None:
    """Raised in a method; a caller that knows more finds a little more."""
    serve(Raising)
    reply = wire.request("raising.fail", json.dumps({"args": [name], "kwargs": {}}).encode())
    error = json.loads(reply.body)["error"]
    assert {key: error[key] for key in ("exc_type", "exc_path", "exc_args", "value")} == described(name)


def test_a_service_answers_a_call_of_no_method_as_nameko_does(serve: Serve, wire: Wire) -> None:
    """The text is the name; our own callers get the names of those that there are."""
    serve(Raising)
    error = json.loads(wire.request("raising.absent").body)["error"]
    assert error == {
        "exc_type": "MethodNotFound",
        "exc_path": "nameko.exceptions.MethodNotFound",
        "exc_args": ["absent"],
        "value": "absent",
        "names": ["catch", "fail", "fail_as_ours"],
    }


def test_an_error_of_ours_that_a_method_lets_pass_bears_namekos_name(serve: Serve, wire: Wire) -> None:
    """On the wire."""
    serve(Raising)
    error = json.loads(wire.request("raising.fail_as_ours").body)["error"]
    assert (error["exc_type"], error["exc_path"]) == ("ConfigurationError", "nameko.exceptions.ConfigurationError")


def test_the_log_has_namekos_name(serve: Serve, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """In the line, and in the traceback."""
    serve(Raising)
    wire.request("raising.fail", b'{"args": ["ConfigurationError"], "kwargs": {}}')
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage().endswith(": ConfigurationError: text")
    assert "nameko.exceptions.ConfigurationError: text" in str(record.exc_text)


@pytest.mark.parametrize(
    ("service", "method", "outcome"),
    [
        ("raising", "absent", ["MethodNotFound", "absent", "absent"]),
        ("absent", "method", ["UnknownService", "Unknown service `absent`", "absent"]),
    ],
)
def test_callers_in_services_compare_texts_as_with_nameko(
    serve: Serve, service: str, method: str, outcome: list[str]
) -> None:
    """And catch the classes."""
    runner = serve(Raising)
    with entrypoint_hook(runner.service_map["raising"], "catch") as catch:
        assert catch(service, method) == outcome


def test_standalone_callers_compare_texts_as_with_nameko(serve: Serve, config: dict[str, Any]) -> None:
    """By the call itself and by what ``call_async`` gives."""
    serve(Raising)
    with ClusterRpcProxy(config) as client:
        with pytest.raises(MethodNotFound, match=r"^absent$") as caught:
            client.raising.absent()
        assert caught.value.names == ("catch", "fail", "fail_as_ours")
        with pytest.raises(UnknownService, match=r"^Unknown service `absent`$"):
            client.absent.method.call_async().result()


def test_an_error_that_is_raised_by_hand_has_namekos_text() -> None:
    """With any number of arguments."""
    assert (str(MethodNotFound()), str(MethodNotFound("name"))) == ("", "name")
    assert str(UnknownService("name")) == "Unknown service `name`"


def test_errors_of_the_configuration_are_caught_by_namekos_name() -> None:
    """Also those that rpcservice finds."""
    with pytest.raises(ConfigurationError, match="max_workers is 'many'"):
        ServiceRunner({"max_workers": "many"})


def test_errors_of_the_start_are_caught_by_namekos_name(config: dict[str, Any]) -> None:
    """Notes and traceback are as they were."""
    runner = ServiceRunner({**config, "AMQP_SSL": {"cert_reqs": "maybe"}})
    runner.add_service(Raising)
    with pytest.raises(ConfigurationError, match="cert_reqs is 'maybe'") as caught:
        runner.start()
    assert caught.value.__notes__ == ["in setup of raising.reply_listener, ReplyListener"]


def test_paths_are_namekos_for_what_nameko_has() -> None:
    """Wherever it has it; other classes have their own."""
    assert exceptions.get_module_path(EventHandlerConfigurationError) == "nameko.events.EventHandlerConfigurationError"
    assert exceptions.get_module_path(errors.ConfigError) == "rpcservice.errors.ConfigError"
    assert exceptions.get_module_path(ValueError) == "builtins.ValueError"


def test_without_the_layer_nothing_is_different() -> None:
    """A service of rpcservice's own names its own classes."""
    assert error_to_data(errors.ConfigError("text"))["exc_path"] == "rpcservice.errors.ConfigError"
