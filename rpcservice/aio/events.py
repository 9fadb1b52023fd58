"""EventDispatcher, which sends events from event loops."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

from rpcservice.aio.loops import AsyncClient, Work, end, tell
from rpcservice.amqp import events
from rpcservice.amqp.link import Message
from rpcservice.amqp.options import Publication
from rpcservice.amqp.pending import Pending
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import Backend, threads
from rpcservice.core.context import WorkerContext
from rpcservice.errors import ConnectionLost
from rpcservice.standalone.events import Sources, StandaloneDispatcher
from rpcservice.standalone.session import GivenConfig, Session, client_settings


class LoopEvents(events.EventDispatcher):
    """Sends the events of one service from loops."""

    # In a loop, not to wait for the confirm would be to wait for nothing: for no room and for no connection either.
    # A delayed one goes another way, which waits.
    _known = events.EventDispatcher._known - {"use_confirms", "delay"}
    _owner = "an EventDispatcher for asyncio"

    def get_dependency(self, ctx: WorkerContext) -> Any:
        """Give itself."""
        return self

    def message(self, event_type: str, payload: Any, changes: Mapping[str, Any]) -> Publication:
        """Make an event, with what is to be different for it.

        Raises:
            TypeError: Its type is no text, or there is no such option.
            UnserializableValueError: The payload cannot be encoded.
            MessageTooLarge: It is too large.
        """
        if not isinstance(event_type, str):
            raise TypeError(f"dispatch(..., {event_type!r}, ...): the type of an event is a text")
        options = self._options.changed(changes) if changes else self._options
        return options.message(options.exchange, event_type, payload, {})

    @property
    def is_ready(self) -> bool:
        """Whether its exchange needs no check: it is declared here, or was there since the connection is."""
        return self._options.exchange in self._made or self._declarations.knows(self._options.exchange)

    def check(self, timeout: float) -> None:
        """Make sure that its exchange is there; may wait."""
        if not self.is_ready:
            self._declarations.check(self._options.exchange, timeout, may_wait=self._options.retries != 0)

    async def declare(self, changes: Mapping[str, Any]) -> None:
        """Have declared what one event asks for; the loop goes on meanwhile."""
        await Work(partial(self._changed, changes)).ask()

    def send(self, message: Publication) -> "Sending":
        """Send an event."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        pending = self._sender.send(message, partial(tell, loop, end, done, None), retries=message.options.retries)
        return Sending(self._sender, pending, done)

    def no_room(self, message: Message, seconds: float) -> Exception:
        """Give the error for an event whose time is up before it could be sent."""
        return self._sender.no_room(message, seconds)


class Sending:
    """An event that is under way."""

    def __init__(self, sender: ConfirmedSender, pending: Pending, done: "asyncio.Future[None]") -> None:
        self._sender = sender
        self._pending = pending
        self._done = done

    async def wait(self) -> None:
        """Wait for the confirm. When that is cancelled, an event that waits for a channel is not sent any more."""
        try:
            await self._done
        except asyncio.CancelledError:
            self._sender.forget(self._pending)
            raise

    def timed_out(self, seconds: float) -> Exception:
        """Give the error for an event whose time is up."""
        return self._sender.timed_out(self._pending, seconds)


class LoopSources(Sources):
    """What one session's events are sent by."""

    def __init__(self, session: Session, dispatcher: events.EventDispatcher) -> None:
        super().__init__(session, dispatcher)
        self._preparing: dict[str, Work] = {}
        self._rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @property
    def room(self) -> asyncio.Semaphore:
        """What bounds the events of the running loop that wait for a confirm, as ``publish_buffer`` says."""
        loop = asyncio.get_running_loop()
        room = self._rooms.get(loop)
        if room is None:
            room = self._rooms[loop] = asyncio.Semaphore(self._session.config.publish_buffer)
        return room

    async def source(self, service_name: str, timeout: float) -> LoopEvents:
        """Give what sends a service's events; the first time, its exchange is declared, or else looked for."""
        known: Any = self._dispatches.get(service_name)
        if known is None or not self._session.is_up or not known.is_ready:
            preparing = self._preparing.get(service_name)
            if preparing is None:
                preparing = self._preparing[service_name] = Work(partial(self._prepare, service_name, timeout))
            known = await preparing.ask()
        found: LoopEvents = known
        return found

    def _prepare(self, service_name: str, timeout: float) -> Any:
        self._session.wait_until_up(None)
        source: Any = self.dispatch_of(service_name, timeout)
        source.check(timeout)
        return source


class LoopDispatcher(StandaloneDispatcher):
    """The connection of a dispatcher, with the steps that may wait as they are for threads."""

    _provider_class = LoopEvents

    def _make_backend(self) -> Backend:
        return threads()

    def _bind(self, session: Session) -> LoopSources:
        return LoopSources(session, self._dispatcher)

    async def dispatch(self, service_name: str, event_type: str, payload: Any, options: Mapping[str, Any]) -> None:
        """See :meth:`EventDispatcher.__call__`."""
        sources: Any = self._use()[1]
        source: LoopEvents | None = None
        message: Publication | None = None
        delivery: Sending | None = None
        timeout = options.get("timeout")
        seconds: float = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds) as limit:
                source = await sources.source(service_name, self._timeout)
                message = source.message(event_type, payload, options)
                if options.get("declare"):
                    await source.declare(options)
                async with sources.room:
                    with sources.awaited():
                        delivery = source.send(message)
                        await delivery.wait()
        except TimeoutError:
            if not limit.expired():
                raise
            if source is None or message is None:
                raise ConnectionLost(
                    f"nothing was sent within {seconds:g} s: the connection is being set up", maybe_executed=False
                ) from None
            late = source.no_room(message, seconds) if delivery is None else delivery.timed_out(seconds)
            raise late from None


class EventDispatcher(AsyncClient["EventDispatcher"]):
    """Sends events: ``async with EventDispatcher(config) as dispatch: await dispatch("orders", "placed", {...})``.

    It connects with the first event, unless it has been started; :meth:`stop`, or the end of an ``async with``
    block, gives the connection up.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        options: As for :class:`rpcservice.EventDispatcher`, but for ``use_confirms`` and ``delay``: ``serializer``,
            ``timeout`` ... Each may be given for one event too.

    Raises:
        ConfigError: The configuration is wrong.
        TypeError: There is no such option.
    """

    _client: LoopDispatcher

    def __init__(
        self,
        config: GivenConfig = None,
        *,
        uri: str | None = None,
        ssl: bool | Mapping[str, Any] | None = None,
        login_method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(LoopDispatcher(client_settings(config, uri, ssl, login_method), options))

    async def __call__(self, service_name: str, event_type: str, payload: Any, **options: Any) -> None:
        """Send an event and wait until the broker has it; connects when it has to.

        Args:
            service_name: In whose name.
            event_type: The type of the event, by which handlers choose.
            payload: Anything that the serializer takes.
            options: What is to be different for this event: ``timeout``, ``priority``, ``headers`` ...

        Raises:
            ConnectionLost: There is no connection, and none came in time; nothing was sent.
            PublishTimeout: No confirm came in time; whether the broker has the event is unknown.
            PublishRejected: The broker refused it.
            ChannelClosed: The exchange cannot be declared: there is another one of that name. Or it is left to others
                and is not there.
            MessageTooLarge: It was not sent.
            UnserializableValueError: The payload cannot be encoded.
        """
        await self._client.dispatch(service_name, event_type, payload, options)

    def _handle(self) -> Self:
        return self


def event_dispatcher(config: GivenConfig = None, **options: Any) -> EventDispatcher:
    """Give an :class:`EventDispatcher`, by the name of the function for threads."""
    return EventDispatcher(config, **options)
