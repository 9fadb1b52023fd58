"""Standalone clients under nameko's names, with the configuration in front (2.x) or global (3.x)."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from under_nameko import standing_in

from rpcservice.testing import entrypoint_waiter

with standing_in():
    from nameko import config
    from nameko.events import event_handler
    from nameko.exceptions import ConfigurationError, RemoteError, RpcTimeout, UnknownService
    from nameko.extensions import DependencyProvider
    from nameko.rpc import rpc
    from nameko.runners import run_services
    from nameko.standalone.events import event_dispatcher, get_event_exchange
    from nameko.standalone.rpc import ClusterRpcClient, ClusterRpcProxy, ServiceRpcClient, ServiceRpcProxy

from rpcservice.concurrency import green


class Context(DependencyProvider):
    """Injects the context data."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        return dict(worker_ctx.context_data)


class Echo:
    """Answers with what it was given."""

    name = "echo"

    context = Context()

    @rpc
    def say(self, word: Any, *more: Any, **named: Any) -> list[Any]:
        return [word, *more, named]

    @rpc
    def language(self) -> Any:
        return self.context.get("language")

    @rpc
    def call_id(self) -> str:
        stack: list[str] = self.context["call_id_stack"]
        return stack[0]

    @rpc
    def fail(self) -> None:
        raise ValueError("no")

    @rpc
    def sleep(self) -> None:
        green().sleep(60)

    @rpc
    def nap(self) -> str:
        green().sleep(0.2)
        return "rested"

    @event_handler("shop", "sold")
    def sold(self, payload: Any) -> Any:
        return payload


@pytest.fixture
def broker() -> Iterator[dict[str, str]]:
    """A configuration with a broker on which the service runs."""
    settings = {"AMQP_URI": f"memory://{secrets.token_hex(4)}/", "serializer": "json"}
    with run_services(settings, Echo, kill_on_exit=True) as runner:
        settings["_runner"] = runner
        yield settings


Form = Callable[..., Any]


def two(cls: type, *names: str) -> Form:
    """Make a client as nameko 2 has it."""
    return lambda broker, *args, **options: cls(*names, broker, *args, **options)


def by_name(cls: type, *names: str) -> Form:
    """Make a client as nameko 2 has it, the configuration by its name."""
    return lambda broker, *args, **options: cls(*names, *args, config=broker, **options)


class Three:
    """Make a client as nameko 3 has it."""

    def __init__(self, cls: type, *names: str) -> None:
        self.make = lambda *args, **options: cls(*names, *args, **options)

    def __call__(self, broker: Any, *args: Any, **options: Any) -> Any:
        with config.patch(broker, clear=True):
            return self.make(*args, **options)


CLUSTER = [
    pytest.param(form, id=f"{form_of.__name__}-{cls.__name__}-{number}")
    for number, cls in enumerate((ClusterRpcProxy, ClusterRpcClient))
    for form_of in (two, by_name, Three)
    for form in [form_of(cls)]
]
SERVICE = [
    pytest.param(form, id=f"{form_of.__name__}-{cls.__name__}-{number}")
    for number, cls in enumerate((ServiceRpcProxy, ServiceRpcClient))
    for form_of in (two, by_name, Three)
    for form in [form_of(cls, "echo")]
]


@pytest.mark.parametrize("form", CLUSTER)
def test_a_client_for_all_services(broker: dict[str, Any], form: Form) -> None:
    """By attribute and by item."""
    with form(broker) as cluster:
        assert cluster.echo.say(1, 2, a=3) == [1, 2, {"a": 3}]
        assert cluster["echo"]["say"]("x") == ["x", {}]


@pytest.mark.parametrize("form", SERVICE)
def test_a_client_for_one_service(broker: dict[str, Any], form: Form) -> None:
    """As a block, and started and stopped."""
    with form(broker) as echo:
        assert echo.say("x") == ["x", {}]
    client = form(broker)
    echo = client.start()
    assert echo.say("y") == ["y", {}]
    client.stop()


@pytest.mark.parametrize("form", [*CLUSTER, *SERVICE])
@pytest.mark.parametrize("is_positional", [True, False])
def test_context_data_travels_with_each_call(broker: dict[str, Any], form: Form, is_positional: bool) -> None:
    """By position, as the argument after the configuration or the first one, or by name."""
    data = {"language": "de"}
    made = form(broker, data, 10) if is_positional else form(broker, context_data=data, timeout=10)
    with made as client:
        assert getattr(client, "echo", client).language() == "de" if made.service_name is None else client.language()


def test_context_data_may_be_changed_between_calls(broker: dict[str, Any]) -> None:
    """Where nameko 2 has it; django-nameko puts it back in order after each request."""
    with ClusterRpcProxy(broker, context_data={"language": "de"}) as cluster:
        cluster._worker_ctx.data["language"] = "fr"
        assert cluster.echo.language() == "fr"
        del cluster._worker_ctx.data["language"]
        assert cluster.echo.language() is None


def test_replies_may_be_taken_in_any_order_and_again(broker: dict[str, Any]) -> None:
    with ServiceRpcProxy("echo", broker) as echo:
        first, second = echo.say.call_async(1), echo.say.call_async(2)
        assert second.result() == [2, {}]
        assert [first.result(), first.result()] == [[1, {}]] * 2


def test_calls_have_ids_of_their_own(broker: dict[str, Any]) -> None:
    """Below the client's."""
    client = ServiceRpcProxy("echo", broker)
    with client as echo:
        one, two = echo.call_id(), echo.call_id()
    assert one != two
    assert {call_id.rpartition(".")[0] for call_id in (one, two)} == {one.rpartition(".")[0]}
    assert one.startswith("standalone_rpc_client.")


def test_errors_come_back(broker: dict[str, Any]) -> None:
    with ClusterRpcProxy(broker) as cluster:
        with pytest.raises(RemoteError, match="ValueError no"):
            cluster.echo.fail()
        with pytest.raises(UnknownService) as caught:
            cluster.nobody.answers()
        assert caught.value.service_name == "nobody"


def test_a_call_has_a_time_limit_after_which_the_client_goes_on(broker: dict[str, Any]) -> None:
    with ServiceRpcProxy("echo", broker, timeout=0.05) as echo:
        with pytest.raises(RpcTimeout):
            echo.sleep()
        assert echo.say(1) == [1, {}]


def test_without_limit_a_call_waits_as_long_as_it_takes(broker: dict[str, Any]) -> None:
    """Whatever our own key says: it is for services."""
    with ServiceRpcProxy("echo", {**broker, "rpcservice": {"rpc_timeout": 0.02}}) as echo:
        assert echo.nap() == "rested"


def test_what_is_half_named_is_not_called(broker: dict[str, Any]) -> None:
    with ClusterRpcProxy(broker) as cluster:
        with pytest.raises(ValueError, match=r"Cannot call unspecified method echo\.\*"):
            cluster.echo()
        with pytest.raises(ValueError, match=r"Cannot call unspecified method \*\.\*"):
            cluster()
        with pytest.raises(AttributeError, match="more"):
            cluster.echo.say.more.anything()


def test_options_of_publishers_are_taken_or_passed_over(broker: dict[str, Any]) -> None:
    """Those that the client chooses itself have no effect, as in nameko 3; another is a mistake."""
    options: dict[str, Any] = {"exchange": "x", "mandatory": False, "retry": False, "headers": {"h": 1}, "priority": 3}
    with ServiceRpcClient("echo", config=broker, timeout=10, serializer="json", **options) as echo:
        assert echo.say(1) == [1, {}]
    with pytest.raises(TypeError, match="'sterilizer' is no option of an RPC client"):
        ServiceRpcClient("echo", config=broker, sterilizer="json")


def test_options_for_calls_without_an_answer_are_taken(broker: dict[str, Any]) -> None:
    """nameko has none; ``retry``, which it has for publishing, is passed over."""
    with ClusterRpcProxy(broker, fallback=lambda error, *args: [type(error).__name__, *args]) as cluster:
        assert cluster.nobody.answers(1) == ["UnknownService", 1]
    with ClusterRpcProxy(broker, max_in_flight=1) as cluster:
        assert cluster.echo.say(1) == [1, {}]


def test_another_broker_is_given_by_its_uri(broker: dict[str, Any]) -> None:
    """The configuration may name one that is not there."""
    with (
        config.patch({"AMQP_URI": "memory://elsewhere/"}, clear=True),
        ServiceRpcClient("echo", uri=broker["AMQP_URI"], timeout=10) as echo,
    ):
        assert echo.say(1) == [1, {}]


def test_a_value_given_twice_is_a_mistake(broker: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="ServiceRpcClient got two values for timeout"):
        ServiceRpcProxy("echo", broker, {}, 3, timeout=4)


def test_listeners_of_one_s_own_are_refused(broker: dict[str, Any]) -> None:
    """With the reason."""
    with pytest.raises(TypeError, match="reply_listener_cls has no meaning here"):
        ServiceRpcProxy("echo", broker, reply_listener_cls=object)


def test_a_wrong_configuration_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_workers is 'many'"):
        ClusterRpcProxy({"AMQP_URI": "memory://", "max_workers": "many"})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda broker: event_dispatcher(broker), id="2.x"),
        pytest.param(lambda broker: event_dispatcher(nameko_config=broker), id="2.x-by-name"),
        pytest.param(lambda broker: event_dispatcher(uri=broker["AMQP_URI"]), id="3.x-uri"),
        pytest.param(lambda broker: event_dispatcher(broker, serializer="json", retry=False), id="options"),
    ],
)
def test_an_event_is_dispatched_in_the_name_of_a_service(broker: dict[str, Any], make: Any) -> None:
    (container,) = broker["_runner"].containers
    with make(broker) as dispatch, entrypoint_waiter(container, "sold", timeout=10) as result:
        dispatch("shop", "sold", {"sku": "tea"})
    assert result.get() == {"sku": "tea"}


def test_events_go_by_the_global_configuration(broker: dict[str, Any]) -> None:
    (container,) = broker["_runner"].containers
    with (
        config.patch({"AMQP_URI": broker["AMQP_URI"]}, clear=True),
        event_dispatcher() as dispatch,
        entrypoint_waiter(container, "sold", timeout=10) as result,
    ):
        dispatch("shop", "sold", 1)
    assert result.get() == 1


def test_the_exchange_of_events_follows_the_configuration() -> None:
    """An argument or the global one."""
    exchange = get_event_exchange("shop", {"AUTO_DELETE_EVENT_EXCHANGES": True, "DECLARE_EVENT_EXCHANGES": False})
    assert (exchange.name, exchange.type, exchange.durable) == ("shop.events", "topic", True)
    assert (exchange.auto_delete, exchange.no_declare) == (True, True)
    with config.patch({}, clear=True):
        assert get_event_exchange("shop").auto_delete is False
