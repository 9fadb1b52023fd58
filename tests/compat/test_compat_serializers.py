"""nameko's serializers in a service: registered with kombu, and known when a container is made."""

from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from kombu import serialization
from under_nameko import standing_in
from wire import Inbox

with standing_in():
    from nameko import config as global_config
    from nameko.amqp.publish import Publisher, get_producer
    from nameko.containers import ServiceContainer
    from nameko.exceptions import ConfigurationError
    from nameko.extensions import DependencyProvider
    from nameko.messaging import consume
    from nameko.runners import ServiceRunner
    from nameko.serialization import setup
    from nameko.standalone.events import event_dispatcher
    from nameko.standalone.rpc import ClusterRpcProxy
    from nameko.testing.services import dummy, entrypoint_hook

SHOUT = {
    "shout": {
        "encoder": f"{__name__}.shout",
        "decoder": f"{__name__}.whisper",
        "content_type": "application/x-shout",
    }
}


def shout(value: str) -> str:
    """Encode a text."""
    return value.upper()


def whisper(body: Any) -> str:
    """Decode a text."""
    return str(body).lower()


class Service:
    name = "service"

    @dummy
    def nothing(self) -> None: ...


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    if "shout" in serialization.registry.name_to_type:
        serialization.unregister("shout")


@pytest.mark.parametrize("setting", [{"serializer": "unknown"}, {"ACCEPT": ["json", "unknown"]}])
@pytest.mark.parametrize(
    "make",
    [
        lambda config: ServiceContainer(Service, config),
        lambda config: ServiceRunner(config).add_service(Service),
        ClusterRpcProxy,
        event_dispatcher,
    ],
    ids=["container", "runner", "client", "dispatcher"],
)
def test_an_unknown_serializer_is_refused_when_something_is_made_with_it(
    make: Callable[[Any], Any], setting: dict[str, Any]
) -> None:
    """And not later, when it starts."""
    with pytest.raises(ConfigurationError, match='Please register a serializer for "unknown" format'):
        make({"AMQP_URI": "memory://", **setting})


def test_the_global_configuration_is_looked_at_too() -> None:
    """As of nameko 3."""
    with (
        global_config.patch({"AMQP_URI": "memory://", "serializer": "unknown"}, clear=True),
        pytest.raises(ConfigurationError, match="unknown"),
    ):
        ServiceContainer(Service)


def test_a_container_knows_its_serializers() -> None:
    """By the attributes that extensions read."""
    given = {"AMQP_URI": "memory://", "serializer": "shout", "ACCEPT": ["json", "shout"], "SERIALIZERS": SHOUT}
    container = ServiceContainer(Service, given)
    assert (container.serializer, container.accept) == ("shout", ["json", "shout"])


def test_a_content_type_may_be_left_out() -> None:
    """As without drop-in mode."""
    described = {key: SHOUT["shout"][key] for key in ("encoder", "decoder")}
    ServiceContainer(Service, {"AMQP_URI": "memory://", "SERIALIZERS": {"shout": described}})
    assert serialization.registry.name_to_type["shout"] == "application/x-shout"


def by_connection(uri: str, text: str) -> None:
    """Publish on a connection of one's own."""
    with kombu.Connection(uri) as connection:
        connection.Producer().publish(text, routing_key="words", serializer="shout")


def by_producer(uri: str, text: str) -> None:
    """Publish by one of the producers that nameko keeps."""
    with get_producer(uri) as producer:
        producer.publish(text, routing_key="words", serializer="shout")


def by_publisher(uri: str, text: str) -> None:
    """Publish by a publisher of nameko's."""
    Publisher(uri, serializer="shout").publish(text, routing_key="words")


@pytest.mark.parametrize("publish", [by_connection, by_producer, by_publisher])
def test_extensions_that_publish_by_kombu_have_the_serializers(
    rabbitmq_uri: str, serve: Any, inbox: Inbox, publish: Callable[[str, str], None]
) -> None:
    """In a worker; another service of the same configuration understands them."""

    class Own(DependencyProvider):
        def get_dependency(self, worker_ctx: Any) -> Any:
            return lambda text: publish(self.container.config["AMQP_URI"], text)

    class Speaking:
        name = "speaking"
        publish = Own()

        @dummy
        def speak(self) -> None:
            self.publish("word")

        @consume(kombu.Queue("words"))
        def hear(self, body: Any) -> None:
            inbox(body)

    runner = serve(Speaking, AMQP_URI=rabbitmq_uri, ACCEPT=["json", "shout"], SERIALIZERS=SHOUT)
    with entrypoint_hook(runner.service_map["speaking"], "speak") as speak:
        speak()
    assert inbox.take() == "word"


@pytest.mark.parametrize("key", ["encoder", "decoder"])
def test_a_function_that_is_not_there_is_named_with_its_key(key: str) -> None:
    broken = {"shout": {**SHOUT["shout"], key: "no.such.function"}}
    with pytest.raises(ImportError, match=f"SERIALIZERS.shout.{key} is 'no.such.function', which cannot be imported"):
        setup({"SERIALIZERS": broken})
