"""What waits is done in threads; what becomes of it is told to event loops."""

import asyncio
import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from rpcservice.concurrency import threads
from rpcservice.standalone.session import Standalone

H = TypeVar("H")
T = TypeVar("T")

_log = logging.getLogger(__name__)


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Have a loop call a function; may be called from any thread."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError as exc:
        # Nobody can wait in a loop that has been closed.
        _log.debug("an outcome came too late for its event loop: %s", exc)


def end(future: "asyncio.Future[T]", result: Any, error: BaseException | None = None) -> None:
    """End a future with a result or an error, unless it has ended."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Work:
    """Something that may wait: a thread does it, once for all who ask for it meanwhile, in whatever loop.

    It has a thread of its own and not one of a loop's executor, which the program may have filled.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._asking: dict[asyncio.Future[Any], asyncio.AbstractEventLoop] = {}
        self._is_under_way = False
        self._lock = Lock()

    def ask(self) -> "asyncio.Future[Any]":
        """Give a future of the running loop that ends with the work; it may be cancelled, and the work goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._asking[future] = loop
            is_under_way, self._is_under_way = self._is_under_way, True
        future.add_done_callback(self._leave)
        if not is_under_way:
            threads().spawn(self._run)
        return future

    def _leave(self, future: "asyncio.Future[Any]") -> None:
        with self._lock:
            self._asking.pop(future, None)

    def _run(self) -> None:
        result, error = None, None
        try:
            result = self._function()
        except BaseException as exc:
            error = exc
        with self._lock:
            asking, self._asking = self._asking, {}
            self._is_under_way = False
        for future, loop in asking.items():
            tell(loop, end, future, result, error)


class _Attempt:
    """One attempt to connect; when it is given up, what it comes to is undone."""

    def __init__(self, connect: Callable[[], object], disconnect: Callable[[], object]) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._lock = Lock()
        self._is_connected = self._is_given_up = False

    def run(self) -> None:
        """Connect; called in a thread."""
        self._connect()
        with self._lock:
            self._is_connected = True
            is_given_up = self._is_given_up
        if is_given_up:
            self._disconnect()

    def give_up(self) -> bool:
        """Disconnect, now or as soon as it is connected, and do not wait for it; False when it is not connected."""
        with self._lock:
            self._is_given_up = True
            is_connected = self._is_connected
        if is_connected:
            threads().spawn(self._disconnect)
        return is_connected


class AsyncClient(Generic[H]):
    """Starts and stops a client in threads: with ``async with``, or ``start`` and ``stop``."""

    def __init__(self, client: Standalone[Any]) -> None:
        self._client = client

    def _handle(self) -> H:
        """Give what the client is used by."""
        raise NotImplementedError

    async def _connect(self, connect: Callable[[], object], disconnect: Callable[[], object]) -> H:
        attempt = _Attempt(connect, disconnect)
        try:
            await Work(attempt.run).ask()
        except asyncio.CancelledError:
            if not attempt.give_up():
                self._client._give_up()
            raise
        return self._handle()

    async def start(self) -> H:
        """Connect now and not with the first use; gives what ``async with`` gives.

        Raises:
            BrokerUnavailable: The broker could not be reached within ``startup_timeout``, here 10 seconds unless the
                configuration says otherwise.
        """
        return await self._connect(self._client._keep, self._client.stop)

    async def stop(self) -> None:
        """Disconnect; calls under way fail with ConnectionLost. The client may be started again."""
        await Work(self._client.stop).ask()

    async def __aenter__(self) -> H:
        return await self._connect(self._client._enter, self._client._leave)

    async def __aexit__(self, *exc_info: object) -> None:
        await Work(self._client._leave).ask()
