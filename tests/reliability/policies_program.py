"""Run as ``policies_program.py FUNCTION URI``: a program that nothing has patched, whose clients have policies.

It prints lines of JSON: what its function gives is the ``answer`` in the last one.
"""

import asyncio
import inspect
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from rpcservice import (
    Breaker,
    ClusterRpcClient,
    RemoteError,
    Retry,
    RpcServiceError,
    ServiceRpcClient,
    aio,
)
from rpcservice.amqp import connection

MANY = 50
TICK = 0.01
QUICKLY = Retry(max_attempts=3, initial=0.05, idempotent=True)
connection.FIRST_PAUSE = connection.LONGEST_PAUSE = 0.2


def outcome(call: Callable[[], Any]) -> Any:
    """Give a result, or the name of the error that there is instead."""
    try:
        return call()
    except RpcServiceError as exc:
        return type(exc).__name__


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Give the outcomes of a function in so many threads at once."""
    barrier, outcomes = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait()
        outcomes.append(outcome(lambda: work(number)))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def payments(uri: str, **options: Any) -> ServiceRpcClient:
    return ServiceRpcClient("payments", {"AMQP_URI": uri}, **options)


def modules(uri: str) -> Any:
    """Look at what is imported for clients without policies, and with."""
    plain = payments(uri)
    wanted = ("eventlet", "tenacity")
    without = [name for name in wanted if name in sys.modules]
    with payments(uri, retry=True, breaker=Breaker(), max_in_flight=5, fallback=print) as guarded:
        guarded.charge(1)
    plain.stop()
    return {"without": without, "with": [name for name in wanted if name in sys.modules]}


def retries(uri: str) -> Any:
    with payments(uri, timeout=1, retry=QUICKLY) as client:
        outcomes = in_threads(MANY, lambda number: client.charge_at_last(number, MANY)[0])
    return sorted(outcomes, key=str) == sorted(range(MANY), key=str) or outcomes


def async_retries(uri: str) -> Any:
    """Have one thread wait for many calls, whose second attempts are made side by side."""
    with payments(uri, timeout=1, retry=Retry(max_attempts=2, initial=1, jitter=0, idempotent=True)) as client:
        calls = [client.charge_at_last.call_async(number, MANY) for number in range(MANY)]
        begin = monotonic()
        outcomes = [outcome(call.result) for call in calls]
        seconds = monotonic() - begin
    numbers = [one[0] for one in outcomes if isinstance(one, list)]
    return {"right": numbers == list(range(MANY)), "outcomes": outcomes, "seconds": seconds}


def bulkhead(uri: str) -> Any:
    with payments(uri, timeout=1.5, max_in_flight=MANY) as client:
        outcomes = in_threads(MANY + 10, client.hold)
        return {"outcomes": Counter(outcomes), "after": client.charge(1)}


def breaker(uri: str) -> Any:
    with ClusterRpcClient({"AMQP_URI": uri}, breaker=Breaker(min_calls=MANY, cooldown=60)) as cluster:
        client = cluster._provider._client
        first = in_threads(MANY, lambda number: cluster.nobody.call(number))
        second = in_threads(MANY, lambda number: cluster.nobody.call(number))
        other = cluster.payments.charge(1)
        states = {circuit.service_name: circuit.state for circuit in client.circuits}
        return {
            "first": Counter(first),
            "second": Counter(second),
            "other": other,
            "states": states,
        }


def no_broker(uri: str) -> Any:
    """The breaker opens although there has never been a session."""
    config = {"AMQP_URI": uri, "startup_timeout": 0.3}
    client = ServiceRpcClient("payments", config, timeout=0.1, breaker=Breaker(min_calls=3))
    return [outcome(lambda: client.charge(1)) for _ in range(4)][-1]


def fork(uri: str) -> Any:
    """A child of a program whose breaker is open, and whose lock another thread has at that moment."""
    client = ClusterRpcClient({"AMQP_URI": uri}, breaker=Breaker(min_calls=1, cooldown=60), max_in_flight=9)
    before = [outcome(client.nobody.call) for _ in range(2)]
    (circuit,) = client.circuits
    read, write = os.pipe()
    with circuit._guard:
        pid = os.fork()
    if pid == 0:
        holding = threading.Thread(target=circuit._guard.__enter__)
        holding.start()
        holding.join()
        os.write(write, outcome(client.nobody.call).encode())
        os._exit(0)
    os.close(write)
    told = os.read(read, 100).decode()
    os.waitpid(pid, 0)
    client.stop()
    return {"before": before, "child": told}


def stop(uri: str) -> Any:
    """A client is stopped while a call of it would go on for long."""
    client = payments(uri, retry=Retry(max_attempts=5, initial=30, jitter=0, idempotent=True))
    client.start()
    calls = [client.hold.call_async(number) for number in range(3)]
    begin = monotonic()
    client.stop()
    return {"outcomes": [outcome(call.result) for call in calls], "is_soon": monotonic() - begin < 20}


def fallback(uri: str) -> Any:
    client = ClusterRpcClient({"AMQP_URI": uri}, fallback=lambda error, number: [type(error).__name__, number])
    answers = [client.nobody.call(1), client.nobody.call.call_async(2).result()]
    answers.append(outcome(lambda: client.nobody.call.with_options(fallback="method")))
    try:
        client.payments.refuse(3)
    except RemoteError as exc:
        answers.append(str(exc.value))
    client.stop()
    return answers


async def gathered(count: int, call: Callable[[int], Awaitable[Any]]) -> tuple[list[Any], float]:
    """Give the outcomes of so many calls at once, and for how long the loop did not turn."""
    turns = [0.0]

    async def tick() -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(TICK)
            turns[0], last = max(turns[0], monotonic() - last), monotonic()

    async def one(number: int) -> Any:
        try:
            return await call(number)
        except RpcServiceError as exc:
            return type(exc).__name__

    ticking = asyncio.create_task(tick())
    outcomes = await asyncio.gather(*map(one, range(count)))
    ticking.cancel()
    return outcomes, turns[0]


async def loop_retries(uri: str) -> Any:
    client = aio.ServiceRpcClient("payments", {"AMQP_URI": uri}, timeout=1, retry=QUICKLY)
    async with client as service:
        outcomes, turn = await gathered(MANY, lambda number: service.charge_at_last(number, MANY))
    numbers = [one[0] for one in outcomes if isinstance(one, list)]
    return {"right": numbers == list(range(MANY)), "outcomes": outcomes, "longest_turn": turn}


async def loop_bulkhead(uri: str) -> Any:
    async with aio.ServiceRpcClient("payments", {"AMQP_URI": uri}, timeout=1.5, max_in_flight=MANY) as service:
        outcomes, turn = await gathered(MANY + 10, service.hold)
        dropped = [service.hold.call_async(number) for number in range(MANY)]
        await asyncio.sleep(TICK)
        full = await gathered(1, service.charge)
        for call in dropped:
            call.cancel()
        await asyncio.sleep(TICK)
        return {"outcomes": Counter(outcomes), "longest_turn": turn, "full": full[0], "after": await service.charge(1)}


async def loop_breaker(uri: str) -> Any:
    breaker = Breaker(min_calls=MANY, cooldown=0.5)
    async with aio.ClusterRpcClient({"AMQP_URI": uri}, breaker=breaker, timeout=0.2) as cluster:
        first, _ = await gathered(MANY, cluster.payments.hold)
        second, _ = await gathered(MANY, cluster.payments.charge)
        await asyncio.sleep(0.6)
        return {"first": Counter(first), "second": Counter(second), "after": await cluster.payments.charge(1)}


async def loop_fallback(uri: str) -> Any:
    async def later(error: Exception, number: int) -> Any:
        await asyncio.sleep(TICK)
        return [type(error).__name__, number]

    async with aio.ClusterRpcClient({"AMQP_URI": uri}, retry=QUICKLY) as cluster:
        call = cluster.nobody.call
        plain = call.with_options(fallback=lambda error, number: number)
        return [await call.with_options(fallback=later)(1), await plain(2), (await gathered(1, call))[0]]


async def loop_refusal(uri: str) -> Any:
    """The one worker of the service is busy until the first attempt has been given up, and refuses it then."""
    retry = Retry(max_attempts=2, initial=0.01, idempotent=True)
    async with aio.ServiceRpcClient("payments", {"AMQP_URI": uri}) as service:
        held = service.hold.call_async(1)
        await asyncio.sleep(0.3)
        call = service.charge.with_options(timeout=1, retry=retry).call_async(2)
        await asyncio.sleep(1.2)
        say(note="second attempt")
        return [await call, await held]


async def loop_late_reply(uri: str) -> Any:
    retry = Retry(max_attempts=2, initial=20, jitter=0, idempotent=True)
    async with aio.ServiceRpcClient("payments", {"AMQP_URI": uri}, timeout=0.3, retry=retry) as service:
        began = monotonic()
        call = service.hold.call_async(7)
        await asyncio.sleep(1)
        say(note="pause")
        return {"result": await call, "is_soon": monotonic() - began < 15}


def say(**items: Any) -> None:
    print(json.dumps(items), flush=True)


if __name__ == "__main__":
    function = globals()[sys.argv[1]]
    if inspect.iscoroutinefunction(function):
        say(answer=asyncio.run(function(sys.argv[2])))
    else:
        # Threads take turns fifty times as often as they would: what can go wrong between two steps does so.
        sys.setswitchinterval(1e-4)
        say(answer=function(sys.argv[2]))
