"""Run as ``aio_program.py``: a program on asyncio, at the command of a test.

Each line of input is a JSON object with the name of a function here as ``do``, its keyword arguments, and an ``id``.
Functions run one at a time, each in an ``asyncio.run`` of its own; what they print meanwhile has a ``note``, and a
line of input that has nothing to ``do`` is one that they wait for.
"""

import asyncio
import json
import queue
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from kombu import Exchange, Queue

from rpcservice import RpcServiceError
from rpcservice.aio import ClusterRpcClient, EventDispatcher, ServiceRpcClient, event_dispatcher
from rpcservice.amqp import connection, replies
from rpcservice.amqp.sender import ConfirmedSender

TICK = 0.01
# Nobody here wants to wait longer than the broker.
connection.FIRST_PAUSE = connection.LONGEST_PAUSE = 0.2
replies.SWEEP_INTERVAL = 0.1

_output = threading.Lock()
_orders: "queue.Queue[dict[str, Any] | None]" = queue.Queue()
_signals: "queue.Queue[dict[str, Any]]" = queue.Queue()


def say(**items: Any) -> None:
    with _output:
        print(json.dumps(items), flush=True)


async def signal() -> None:
    """Wait for the test's next word."""
    while _signals.empty():
        await asyncio.sleep(TICK)
    say(id=_signals.get()["id"])


async def outcome(call: Awaitable[Any]) -> dict[str, Any]:
    """Give the result of a call, or the error's name and text, and the seconds that it took."""
    began = monotonic()
    try:
        return {"result": await call, "seconds": monotonic() - began}
    except (RpcServiceError, asyncio.CancelledError, TypeError) as exc:
        return {
            "error": type(exc).__name__,
            "text": str(exc),
            "maybe_executed": getattr(exc, "maybe_executed", None),
            "seconds": monotonic() - began,
        }


@asynccontextmanager
async def longest_turn() -> AsyncIterator[list[float]]:
    """Measure for how long the loop did not get to a task that wants nothing but its turn."""
    turns = [0.0]

    async def tick() -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            turns[0] = max(turns[0], now - last)
            last = now

    ticking = asyncio.create_task(tick())
    yield turns
    ticking.cancel()


def pending(cluster: Any) -> int:
    """Look behind the scenes: how many calls wait for a reply."""
    return len(cluster._provider._client._use()[1].replies._pending)


async def answers(uri: str) -> dict[str, Any]:
    async with ClusterRpcClient({"AMQP_URI": uri}) as cluster, ServiceRpcClient("desk", uri=uri) as desk:
        return {
            "attributes": await cluster.desk.say("a"),
            "items": await cluster["desk"]["say"]("b"),
            "keywords": await cluster.desk.say(text="c"),
            "started": await cluster.desk.say.call_async("d"),
            "options": await cluster.desk.say.with_options(timeout=3)("e"),
            "service": await desk.say("f"),
        }


async def use_as_proxies(uri: str) -> dict[str, Any]:
    """Use the clients themselves, and with other context data."""
    client, desk = ClusterRpcClient(uri=uri, context_data={"language": "en"}), ServiceRpcClient("desk", uri=uri)
    answers = {
        "attributes": await client.desk.language(),
        "items": await client["desk"].language(),
        "context": await client.with_context({"language": "nl"}).desk.language(),
        "service attributes": await desk.say("a"),
        "service items": await desk["say"]("b"),
        "service context": await desk.with_context({"language": "fr"}).language(),
    }
    await asyncio.gather(client.stop(), desk.stop())
    return answers


async def call_embedded() -> dict[str, Any]:
    async with ClusterRpcClient(uri="memory://") as cluster:
        return await outcome(cluster.nobody.say("x"))


async def errors(uri: str) -> list[dict[str, Any]]:
    async with ClusterRpcClient(uri=uri) as cluster:
        unknown = await outcome(cluster.nobody.say("x"))
        calls = (cluster.desk.fail("no luck"), cluster.desk.shout("x"), cluster.desk.say(), cluster.desk.say(object()))
        return [unknown, *[await outcome(call) for call in calls]]


async def too_large(uri: str) -> dict[str, Any]:
    """Call a method whose name does not fit into a message."""
    async with ClusterRpcClient(uri=uri) as cluster:
        return {**await outcome(cluster.desk["m" * 300]()), "pending": pending(cluster)}


async def meet(uri: str, count: int) -> dict[str, Any]:
    """Have so many calls in flight that each ends only when all are there."""
    async with ClusterRpcClient(uri=uri, timeout=20) as cluster:
        results = await asyncio.gather(*(cluster.desk.meet(number, count) for number in range(count)))
        say(note="met")
        await signal()
        return {"results": results, "pending": pending(cluster)}


async def time_out(uri: str) -> dict[str, Any]:
    async with ClusterRpcClient(uri=uri) as cluster:
        late = await outcome(cluster.desk.hold.with_options(timeout=0.2)("late"))
        say(note="late")
        await signal()
        return {"late": late, "next": await cluster.desk.say("next"), "pending": pending(cluster)}


async def cancel(uri: str) -> dict[str, Any]:
    async with ClusterRpcClient(uri=uri) as cluster:
        tasks = [asyncio.create_task(cluster.desk.hold(f"cancelled {number}")) for number in range(10)]
        calls = [cluster.desk.hold.call_async("cancelled call")]
        while pending(cluster) < 11:
            await asyncio.sleep(TICK)
        say(note="in flight")
        await signal()
        for one in (*tasks, *calls):
            one.cancel()
        outcomes = await asyncio.gather(*tasks, *calls, return_exceptions=True)
        left = pending(cluster)
        say(note="cancelled")
        await signal()
        return {
            "cancelled": sum(isinstance(one, asyncio.CancelledError) for one in outcomes),
            "pending": left,
            "next": await cluster.desk.say("next"),
        }


async def outage(uri: str) -> dict[str, Any]:
    """Go through an outage of the broker, with calls before, when it begins, meanwhile and after."""
    async with longest_turn() as turns, ClusterRpcClient(uri=uri, timeout=30) as cluster:
        tasks = [asyncio.create_task(outcome(cluster.desk.hold("x"))) for _ in range(20)]
        while pending(cluster) < 20:
            await asyncio.sleep(TICK)
        say(note="in flight")
        lost = await asyncio.gather(*tasks)
        say(note="lost")
        impatient = await outcome(cluster.desk.say.with_options(timeout=0.2)("y"))
        dropped = cluster.desk.say.call_async("z")
        await asyncio.sleep(TICK)
        dropped.cancel()
        waiting = asyncio.create_task(outcome(cluster.desk.say("waits")))
        say(note="waiting")
        after = await waiting
        return {"lost": lost, "impatient": impatient, "after": after, "turn": turns[0], "pending": pending(cluster)}


async def connect_slowly(uri: str) -> dict[str, Any]:
    """Connect to a broker that does not answer."""
    async with longest_turn() as turns:
        failed = await outcome(ClusterRpcClient({"AMQP_URI": uri, "startup_timeout": 1}).start())
        say(note="given up")
        return {**failed, "turn": turns[0], "threads": await threads_left()}


async def lose_patience(uri: str) -> dict[str, Any]:
    """Call and dispatch with clients that are not connected, and do not get to be."""
    client = ClusterRpcClient({"AMQP_URI": uri, "startup_timeout": 0.5})
    dispatch = event_dispatcher({"AMQP_URI": uri, "startup_timeout": 0.5}, timeout=0.2)
    outcomes = await asyncio.gather(
        outcome(client.desk.say.with_options(timeout=0.2)("x")),
        outcome(client.desk.say.with_options(timeout=10)("x")),
        outcome(dispatch("office", "opened", "x")),
    )
    say(note="given up")
    await asyncio.gather(client.stop(), dispatch.stop())
    return {"outcomes": outcomes, "threads": await threads_left()}


async def cancel_start(uri: str) -> dict[str, Any]:
    client = ClusterRpcClient(uri=uri)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    cancelled = await outcome(starting)
    say(note="given up")
    return {**cancelled, "threads": await threads_left()}


async def start_again(uri: str) -> dict[str, Any]:
    """Start once more, right after a start that was cancelled."""
    client = ClusterRpcClient(uri=uri)
    entering = asyncio.create_task(client.__aenter__())
    await asyncio.sleep(0.1)
    entering.cancel()
    cancelled = await outcome(entering)
    say(note="given up")
    async with client:
        return {**cancelled, "answer": await client.desk.say("again")}


async def threads_left() -> list[str]:
    """Give the names of the threads beside the program's own two, when they have had time to end."""
    deadline = monotonic() + 15
    while len(found := threading.enumerate()) > 2 and monotonic() < deadline:
        await asyncio.sleep(TICK)
    return [thread.name for thread in found[2:]]


async def flood(uri: str, size: int, count: int) -> dict[str, Any]:
    """Send more than the socket takes, to a broker that reads nothing."""
    async with longest_turn() as turns, ClusterRpcClient(uri=uri) as cluster:
        say(note="up")
        await signal()
        method, body = cluster.desk.say.with_options(timeout=1), "x" * size
        calls = []
        for _ in range(count):
            calls.append(asyncio.create_task(outcome(method(body))))
            # To encode so much takes its time too; the others get their turn in between.
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*calls)
        blocked = {"errors": sorted({one["error"] for one in outcomes}), "turn": turns[0]}
        say(note="blocked")
        await signal()
        return {**blocked, "after": await cluster.desk.say("after"), "pending": pending(cluster)}


async def stop(uri: str) -> dict[str, Any]:
    """Use a client that nobody has started, and stop it with calls in flight."""
    client = ClusterRpcClient(uri=uri)
    cluster = client.proxy
    before = await cluster.desk.say("before")
    held = [asyncio.create_task(outcome(cluster.desk.hold("stopped"))) for _ in range(3)]
    while pending(cluster) < 3:
        await asyncio.sleep(TICK)
    await client.stop()
    return {
        "before": before,
        "held": await asyncio.gather(*held),
        "after": await outcome(cluster.desk.say("after")),
        "threads": await threads_left(),
    }


_kept: dict[str, ClusterRpcClient] = {}


async def call_kept(uri: str) -> str:
    """Use the same client in one loop after another."""
    client = _kept.setdefault(uri, ClusterRpcClient(uri=uri))
    async with client as cluster:
        return str(await cluster.desk.say("kept"))


async def leave_open(uri: str, seconds: float = 30) -> str:
    """End the loop with a call in flight and the client running."""
    client = _kept.setdefault(uri, ClusterRpcClient(uri=uri))
    cluster = await client.start()
    cluster.desk.hold.with_options(timeout=seconds).call_async("left")
    return str(await cluster.desk.say("left open"))


async def close_left(uri: str) -> dict[str, Any]:
    client = _kept.pop(uri)
    answer = await client.proxy.desk.say("still there")
    while pending(client.proxy):
        await asyncio.sleep(TICK)
    await client.stop()
    return {"answer": answer, "threads": await threads_left()}


async def call_from_loops(uri: str, count: int) -> list[list[str]]:
    """Use one client in several loops at once, each in a thread of its own."""
    async with ClusterRpcClient(uri=uri) as cluster:

        async def work(loop_number: int) -> list[str]:
            calls = (cluster.desk.say(f"{loop_number}.{number}") for number in range(20))
            return await asyncio.gather(*calls)

        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(number)) for number in range(count)))


async def dispatch(uri: str, count: int, buffer: int) -> dict[str, Any]:
    config = {"AMQP_URI": uri, "publish_buffer": buffer}
    async with EventDispatcher(config) as dispatch, longest_turn() as turns:
        await asyncio.gather(*(dispatch("office", "opened", number) for number in range(count)))
        wrong: Any = 1
        return {"turn": turns[0], "wrong": await outcome(dispatch("office", wrong, "x"))}


async def dispatch_with_options(uri: str) -> dict[str, Any]:
    async with EventDispatcher(uri=uri) as dispatch:
        await dispatch("office", "greeted", "hoi", headers={"nameko.language": "nl"})
        await dispatch("office", "greeted", "hello")
        names = ("use_confirms", "delay", "colour")
        return {name: await outcome(dispatch("office", "greeted", "x", **{name: None})) for name in names}


async def dispatch_with_declarations(uri: str) -> dict[str, Any]:
    """Declare a queue with one event, which is to be the first in it, and something that is there as another kind."""
    exchange = Exchange("office.events", "topic", durable=True)
    declared = Queue("declared with an event", exchange, routing_key="closed", auto_delete=False)
    async with EventDispatcher(uri=uri) as dispatch, longest_turn() as turns:
        await dispatch("office", "closed", "before")
        await dispatch("office", "closed", "here", declare=[declared])
        other = Exchange("office.events", "fanout", durable=True)
        refused = await outcome(dispatch("office", "closed", "x", declare=[other]))
        await dispatch("office", "closed", "again")
        return {"turn": turns[0], "refused": refused}


async def dispatch_undeclared(uri: str) -> dict[str, Any]:
    """Send events of which some have no exchange, all at once."""
    async with EventDispatcher({"AMQP_URI": uri, "DECLARE_EVENT_EXCHANGES": False}) as dispatch:
        await dispatch("office", "opened", "first")
        session = dispatch._client._use()[0]
        (sender,) = (resource for resource in session.resources if isinstance(resource, ConfirmedSender))
        shared = sender._channel.current
        sending = []
        for number in range(20):
            sending.append(outcome(dispatch("office", "opened", number)))
            sending.append(outcome(dispatch(f"nobody-{number % 3}", "happened", number)))
        outcomes = await asyncio.gather(*sending)
        return {"office": outcomes[::2], "nobody": outcomes[1::2], "is_same": sender._channel.current is shared}


def is_lost(client: EventDispatcher) -> bool:
    session = client._client._use()[0]
    return any(isinstance(resource, connection.AmqpConnection) and resource.health() for resource in session.resources)


async def dispatch_through_outage(uri: str) -> dict[str, Any]:
    async with EventDispatcher(uri=uri) as dispatch, EventDispatcher(uri=uri, timeout=0.2) as impatient:
        await dispatch("office", "opened", "before")
        await impatient("office", "opened", "before")
        say(note="up")
        await signal()
        while not (is_lost(dispatch) and is_lost(impatient)):
            await asyncio.sleep(TICK)
        timed_out = await outcome(impatient("office", "opened", "given up"))
        hurried = await outcome(dispatch("office", "opened", "given up", timeout=0.2))
        dropped = asyncio.create_task(dispatch("office", "opened", "dropped"))
        await asyncio.sleep(TICK)
        dropped.cancel()
        waiting = asyncio.create_task(outcome(dispatch("office", "opened", "waited")))
        say(note="waiting")
        return {"timed_out": timed_out, "hurried": hurried, "waited": await waiting}


async def modules() -> dict[str, Any]:
    import socket

    return {"eventlet": "eventlet" in sys.modules, "socket": socket.socket.__module__}


def _read() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        (_orders if "do" in request else _signals).put(request)
    _orders.put(None)


def _runner(request: dict[str, Any]) -> Callable[[Any], Any]:
    if request.pop("uvloop", False):
        import uvloop

        return uvloop.run
    return asyncio.run


def main() -> None:
    threading.Thread(target=_read, daemon=True).start()
    while (request := _orders.get()) is not None:
        number, function = request.pop("id"), globals()[request.pop("do")]
        run = _runner(request)
        say(id=number, answer=run(function(**request)))


if __name__ == "__main__":
    main()
