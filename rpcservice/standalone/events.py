"""event_dispatcher: events from programs that are no services."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.declarations import Declarations
from rpcservice.amqp.events import EventDispatcher, make_event_exchange
from rpcservice.amqp.message import check_timeout
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.config import Settings
from rpcservice.standalone.session import CLIENT_NAME, GivenConfig, Session, Standalone, client_settings


class _NoContext:
    """Stands for a worker's context where nothing travels with a message."""

    context_data: Mapping[str, Any] = {}


class Sources:
    """Sends events in one session, in the name of any service."""

    def __init__(self, session: Session, dispatcher: EventDispatcher) -> None:
        self._session = session
        self._dispatcher = dispatcher
        self._dispatches: dict[str, Callable[..., None]] = {}
        # Here and not with the first event, for resources are started with the session.
        key = connection_key(session.config, publishes=True)
        session.resource(ConfirmedSender, key)
        self._declarations = session.resource(Declarations, key)
        self._connection = session.resource(AmqpConnection, key)

    def awaited(self) -> AbstractContextManager[None]:
        """Give a block around a wait, within which a connection that is lost is set up as soon as it can be."""
        return nullcontext() if self._connection.link is not None else self._connection.awaited()

    def dispatch_of(self, service_name: str, timeout: float) -> Callable[..., None]:
        """Give a service's dispatch function; the first time, its exchange is declared, and what is to be beside it."""
        dispatch = self._dispatches.get(service_name)
        if dispatch is None:
            exchange = make_event_exchange(self._session.config, service_name)
            # Before it is left to the sender to declare them: that must not fail for a mistake in one of them.
            self._declarations.ensure((exchange, *self._dispatcher._entities), timeout)
            with self._session.guard:
                dispatch = self._dispatches.get(service_name) or self._bind(service_name)
        return dispatch

    def _bind(self, service_name: str) -> Callable[..., None]:
        bound = self._dispatcher.bind(self._session.in_the_name_of(service_name), "dispatch")
        bound.setup()
        nothing: Any = _NoContext
        dispatch = self._dispatches[service_name] = bound.get_dependency(nothing)
        return dispatch


class StandaloneDispatcher(Standalone[Sources]):
    """Sends events in the name of any service; made by :func:`event_dispatcher`."""

    _provider_class = EventDispatcher

    def __init__(self, config: Settings, options: Mapping[str, Any]) -> None:
        super().__init__(config, CLIENT_NAME)
        self._dispatcher = self._provider_class(**options)
        timeout = check_timeout(options.get("timeout"), "for publish_timeout")
        self._timeout: float = config.publish_timeout if timeout is None else timeout

    def _bind(self, session: Session) -> Sources:
        return Sources(session, self._dispatcher)

    def __call__(self, service_name: str, event_type: str, payload: Any, **options: Any) -> None:
        """Send an event and wait until the broker has it; connects when it has to.

        Args:
            service_name: In whose name.
            event_type: The type of the event, by which handlers choose.
            payload: Anything that the serializer takes.
            options: What is to be different for this event; as for :class:`~rpcservice.EventDispatcher`.

        Raises:
            ConnectionLost: There is no connection, and none came in time; nothing was sent.
            PublishTimeout: No confirm came in time; whether the broker has the event is unknown.
            PublishRejected: The broker refused it.
            ChannelClosed: The exchange cannot be declared: there is another one of that name. Or it is left to others
                and is not there.
            MessageTooLarge: It was not sent.
            UnserializableValueError: The payload cannot be encoded.
        """
        session, sources = self._use()
        if not session.is_up:
            session.wait_until_up(self._timeout)
        dispatch = sources.dispatch_of(service_name, self._timeout)
        with sources.awaited():
            dispatch(event_type, payload, **options)

    def start(self) -> Self:
        """Connect now and not with the first event.

        Raises:
            BrokerUnavailable: As for :meth:`ClusterRpcClient.start`.
        """
        self._keep()
        return self

    def close(self) -> None:
        """Disconnect; another name of :meth:`stop`."""
        self.stop()

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


def event_dispatcher(
    config: GivenConfig = None,
    *,
    uri: str | None = None,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
    **options: Any,
) -> StandaloneDispatcher:
    """Give a function ``dispatch(service_name, event_type, payload)`` that sends events, from any thread.

    It connects with the first event and keeps the connection; :meth:`StandaloneDispatcher.close`, or the end of a
    ``with`` block, gives it up. A service's exchange is declared with its first event, unless
    ``DECLARE_EVENT_EXCHANGES`` is off.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        options: As for :class:`~rpcservice.EventDispatcher`: ``serializer``, ``priority``, ``timeout`` ...

    Raises:
        ConfigError: The configuration is wrong.
        TypeError: There is no such option.
    """
    return StandaloneDispatcher(client_settings(config, uri, ssl, login_method), options)
