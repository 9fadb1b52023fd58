"""Run as ``standalone_program.py FUNCTION ARGUMENT...``: a program on threads, which nothing has patched.

It prints lines of JSON: notes while it works, and what its function gives as the last one. A line of input is the
test's next word.
"""

import atexit
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from pathlib import Path
from time import monotonic
from typing import Any

from rpcservice import ClusterRpcClient, ConnectionLost, RemoteError, RpcTimeout, UnknownService, event_dispatcher

LIMIT = 60.0
"""Seconds after which a thread is taken to hang."""
_printing = threading.Lock()


def say(**items: Any) -> None:
    with _printing:
        # One write, so that lines of parent and child stay whole.
        os.write(1, json.dumps(items).encode() + b"\n")


def in_threads(count: int, work: Callable[[int], Iterable[Any]]) -> list[Any]:
    """Run a function in so many threads at once; gives what they give, in one list."""
    barrier = threading.Barrier(count)
    found: list[Any] = []

    def run(number: int) -> None:
        barrier.wait()
        found.extend(work(number))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    deadline = monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0, deadline - monotonic()))
    hanging = sum(thread.is_alive() for thread in threads)
    return [*found, f"{hanging} threads hang"] if hanging else found


def wait_for(holds: Callable[[], Any]) -> Any:
    pause, deadline = threading.Event(), monotonic() + LIMIT
    while not (found := holds()) and monotonic() < deadline:
        pause.wait(0.02)
    return found


def own_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())


# Modules and threads


def modules(uri: str) -> dict[str, Any]:
    import socket

    with ClusterRpcClient(uri=uri) as cluster, event_dispatcher(uri=uri) as dispatch:
        cluster.desk.say("a")
        dispatch("office", "opened", 1)
    # In the order of their imports: what measures coverage brings greenlet along before the program begins.
    loaded = list(sys.modules)
    new = loaded[loaded.index("rpcservice") :]
    found = sorted({name.partition(".")[0] for name in new} & {"eventlet", "greenlet", "gevent"})
    return {"found": found, "socket": socket.socket.__module__, "thread": threading.Thread.__module__}


def threads_left(uri: str) -> dict[str, Any]:
    with ClusterRpcClient(uri=uri) as cluster, event_dispatcher(uri=uri) as dispatch:
        cluster.desk.say("a")
        dispatch("office", "opened", 1)
        during = own_threads()
    wait_for(lambda: not own_threads())
    return {"during": len(during), "after": own_threads()}


def calls(uri: str, threads: str, count: str) -> dict[str, Any]:
    """Have each thread make calls of all kinds; gives how many there were, and what was wrong."""
    with ClusterRpcClient(uri=uri) as cluster:
        desk = cluster.desk

        def work(number: int) -> Iterable[str]:
            for turn in range(int(count)):
                text = f"{number}.{turn}"
                yield from differs("call", desk.say(text), text)
                started = [desk.say.call_async([text, part]) for part in range(3)]
                for part in (2, 0, 1):
                    yield from differs("started", started[part].result(), [text, part])
                yield from differs("error", outcome(partial(desk.fail, text)), f"NoLuck {text}")
                if turn % 10 == 0:
                    yield from differs("nobody", outcome(lambda: cluster.nobody.say(1)), "UnknownService")
                    late = desk.dawdle.with_options(timeout=0.001)
                    yield from differs("late", outcome(partial(late, text, 0.05)), "RpcTimeout")

        wrong = in_threads(int(threads), work)
        _, provider = cluster._provider._client._use()
        left = len(provider.replies._pending)
    return {"wrong": wrong, "left": left}


def outcome(call: Callable[[], Any]) -> str:
    try:
        return f"result {call()}"
    except RemoteError as exc:
        return f"{exc.exc_type} {exc.value}"
    except (UnknownService, RpcTimeout, ConnectionLost) as exc:
        return type(exc).__name__


def differs(what: str, given: Any, wanted: Any) -> Iterable[str]:
    return () if given == wanted else (f"{what}: {given!r} is not {wanted!r}",)


def same_call(uri: str, threads: str) -> dict[str, Any]:
    """Have many threads wait for one call, and many be called back by it."""
    called: list[Any] = []
    with ClusterRpcClient(uri=uri) as cluster:
        call = cluster.desk.dawdle.call_async("slow", 0.2)

        def work(number: int) -> Iterable[Any]:
            call.add_done_callback(lambda done: called.append(done.result()))
            yield call.result()

        results = in_threads(int(threads), work)
        wait_for(lambda: len(called) == int(threads))
    return {"results": results, "called": called}


def callbacks(uri: str, threads: str, count: str) -> dict[str, Any]:
    """Add a callback to each of many calls, whose replies come meanwhile; each is to be called once."""
    called: list[Any] = []
    with ClusterRpcClient(uri=uri) as cluster:

        def work(number: int) -> Iterable[Any]:
            for turn in range(int(count)):
                cluster.desk.say.call_async([number, turn]).add_done_callback(lambda call: called.append(call.result()))
            return ()

        wrong = in_threads(int(threads), work)
        total = int(threads) * int(count)
        wait_for(lambda: len(called) >= total)
    return {"wrong": wrong, "called": len(called), "different": len({tuple(one) for one in called})}


def first_calls(uri: str, threads: str) -> dict[str, Any]:
    """Have many threads make the first call of a client that is not connected."""
    client = ClusterRpcClient(uri=uri)
    results = in_threads(int(threads), lambda number: [client.desk.say(number)])
    connections = own_threads()
    client.stop()
    with ClusterRpcClient(uri=uri) as other:
        other.desk.say(0)
        return {"results": sorted(results), "threads": len(connections), "threads of one": len(own_threads())}


def blocks(uri: str, threads: str, count: str) -> list[Any]:
    """Have threads use one client in blocks of their own, which overlap."""
    client = ClusterRpcClient(uri=uri)
    started = threading.Event()

    def work(number: int) -> Iterable[Any]:
        with client as cluster:
            started.set()
            for turn in range(int(count)):
                yield from differs("call", cluster.desk.say([number, turn]), [number, turn])

    return in_threads(int(threads), work)


def events(uri: str, threads: str, count: str) -> dict[str, Any]:
    with event_dispatcher(uri=uri) as dispatch:

        def work(number: int) -> Iterable[Any]:
            for turn in range(int(count)):
                dispatch("office", "opened", [number, turn])
            return ()

        began = monotonic()
        wrong = in_threads(int(threads), work)
        return {"wrong": wrong, "seconds": monotonic() - began, "left": unconfirmed(dispatch)}


def unconfirmed(dispatch: Any) -> int:
    from rpcservice.amqp.sender import ConfirmedSender

    (sender,) = [one for one in dispatch._use()[0].resources if isinstance(one, ConfirmedSender)]
    return len(sender._unconfirmed) + len(sender._again) + len(sender._mandatory)


def tls(uri: str, authority: str, threads: str) -> dict[str, Any]:
    """Send and get long texts over TLS, in many threads at once."""
    ssl = {"ca_certs": authority}
    with ClusterRpcClient(uri=uri, ssl=ssl) as cluster, event_dispatcher(uri=uri, ssl=ssl) as dispatch:

        def work(number: int) -> Iterable[Any]:
            for turn in range(5):
                text = f"{number}.{turn}" * 20_000
                yield from differs("call", cluster.desk.say(text) == text, True)
                dispatch("office", "opened", [number, turn])

        kind = type(cluster._provider._client._use()[1].replies.connection.link._sock).__name__
        return {"wrong": in_threads(int(threads), work), "socket": kind}


def embedded(count: str) -> dict[str, Any]:
    """Host a service on the embedded broker, on greenlets of this thread, and call it from here and from others."""
    from rpcservice import event_handler, rpc, run_services
    from rpcservice.concurrency import green

    heard: list[Any] = []

    class Desk:
        name = "desk"

        @rpc
        def say(self, text: Any) -> Any:
            return text

        @event_handler("office", "opened")
        def hear(self, payload: Any) -> None:
            heard.append(payload)
            if len(heard) == int(count):
                all_heard.set()

    config = {"AMQP_URI": "memory://"}
    backend = green()
    all_heard = backend.event()
    with run_services(Desk, config=config):
        with ClusterRpcClient(config) as cluster:
            here = cluster.desk.say("here")
            home = cluster._provider._client._use()[0].backend.name
        elsewhere: list[Any] = []
        client, dispatch = ClusterRpcClient(config), event_dispatcher(config)

        def work(number: int) -> Iterable[Any]:
            dispatch("office", "opened", number)
            yield client.desk.say(number)

        def call() -> None:
            elsewhere.extend(in_threads(int(count), work))
            client.stop()
            dispatch.stop()
            backend.post(done.set)

        done = backend.event()
        threading.Thread(target=call, daemon=True).start()
        is_done = done.wait(LIMIT) and all_heard.wait(LIMIT)
    return {"here": here, "home": home, "done": is_done, "elsewhere": sorted(elsewhere), "heard": sorted(heard)}


def storm(uri: str, threads: str, blows: str) -> dict[str, Any]:
    """Call in many threads while a signal handler raises in the main thread, which calls too; then call on."""
    sys.path.append(str(Path(__file__).parents[1]))
    from storm import Storm

    is_over = threading.Event()
    good = [0] * int(threads)
    client, dispatch = ClusterRpcClient(uri=uri, timeout=20), event_dispatcher(uri=uri)

    def work(number: int) -> Iterable[Any]:
        while not is_over.is_set():
            given = [number, good[number]]
            yield from differs("call", client.desk.say(given), given)
            if number % 4 == 0:
                dispatch("office", "opened", given)
            good[number] += 1

    def turn() -> None:
        call = client.desk.say.call_async("a")
        call.add_done_callback(lambda done: done.result())
        call.result()
        outcome(client.desk.dawdle.with_options(timeout=0.0005).call_async("late", 0.01).result)
        dispatch("office", "opened", "in the storm")

    client.start()
    dispatch.start()
    wrong: list[Any] = []
    working = threading.Thread(target=lambda: wrong.extend(in_threads(int(threads), work)), daemon=True)
    working.start()
    raging = Storm()
    raging.rage(turn, int(blows))
    seen = list(good)
    goes_on = wait_for(lambda: all(now > before + 1 for now, before in zip(good, seen, strict=True)))
    turn()
    is_over.set()
    working.join(2 * LIMIT)
    answer = {"wrong": wrong, "goes on": goes_on, "pending": len(client._use()[1].replies._pending)}
    answer["unconfirmed"] = unconfirmed(dispatch)
    client.stop()
    dispatch.stop()
    return answer


# Forks


def fork_after_use(uri: str) -> dict[str, Any]:
    """Use a client and a dispatcher in a parent, in two children, and in the parent again."""
    client, dispatch = ClusterRpcClient(uri=uri), event_dispatcher(uri=uri)
    say_with_options = client.desk.say.with_options(timeout=20)
    before = [say_with_options("parent"), client.desk.say("parent")]
    dispatch("office", "opened", "parent")
    held = client.desk.hold.call_async("held")
    children = []
    for number in range(2):
        pid = os.fork()
        if pid == 0:
            dispatch("office", "opened", f"child {number}")
            say(child=number, result=[say_with_options(f"child {number}"), client.desk.say(f"child {number}")])
            # Not os._exit: the end of an interpreter must leave the parent's connection alone, too.
            sys.exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    say(note="forked")
    sys.stdin.readline()
    after = [client.desk.say("parent again"), held.result()]
    dispatch("office", "opened", "parent again")
    client.stop()
    dispatch.close()
    return {"before": before, "codes": codes, "after": after}


def in_a_child(ask: Callable[[], Any]) -> Any:
    """Give what a function gives in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, json.dumps(ask()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        answer = json.load(told)
    os.waitpid(pid, 0)
    return answer


def ask_a_child_for_a_call_of_the_parent(uri: str) -> Any:
    """Give what a forked process is told of a call that is under way: where it waits, and where it is called back."""
    client = ClusterRpcClient(uri=uri)
    held = client.desk.hold.call_async("held")

    def ask() -> list[Any]:
        told: list[Any] = [lost_because(held.result)]
        held.add_done_callback(lambda call: told.append(lost_because(call.result)))
        return told

    answer = in_a_child(ask)
    client.stop()
    return answer


def sockets_in_a_child(uri: str, link: str) -> dict[str, Any]:
    """Give which of a parent's sockets its child has still when it has connected itself."""
    client = ClusterRpcClient({"AMQP_URI": uri, "link": link}, timeout=20)
    client.desk.say("parent")
    before = own_sockets()

    def ask() -> list[Any]:
        return [client.desk.say("child"), sorted(own_sockets() & before)]

    answer = in_a_child(ask)
    after = client.desk.say("parent")
    client.stop()
    return {"before": len(before) > 0, "child": answer, "after": after}


def own_sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith("socket:")}


def long_timeouts(uri: str) -> list[Any]:
    """Make calls with time-outs that no lock takes."""
    with ClusterRpcClient(uri=uri) as cluster:
        long = [float("inf"), 1e10, 1e300, 10**400]
        return [cluster.desk.say.with_options(timeout=timeout)("said") for timeout in long]


def fork_while_threads_call(uri: str) -> dict[str, Any]:
    """Fork again and again while threads of the parent are in the midst of calls."""
    client = ClusterRpcClient(uri=uri)
    is_over = threading.Event()
    codes: list[int] = []

    def work(number: int) -> Iterable[Any]:
        turn = 0
        while not is_over.is_set():
            turn += 1
            yield from differs("call", client.desk.say([number, turn]), [number, turn])

    def fork() -> None:
        for number in range(5):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if client.desk.say(number) == number else 3)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        is_over.set()

    client.start()
    forking = threading.Timer(0.2, fork)
    forking.start()
    wrong = in_threads(4, work)
    forking.join(LIMIT)
    client.stop()
    return {"wrong": wrong, "codes": codes}


# Ends


left_open: list[Any] = []


def be_patient() -> None:
    """Give the broker's last answers more time than it takes on a machine that is busy with other tests."""
    import rpcservice.standalone.session

    rpcservice.standalone.session.EXIT_PATIENCE = 20


def end_without_stop(uri: str) -> str:
    """Leave all open, and a call just sent."""
    be_patient()
    client, dispatch = ClusterRpcClient(uri=uri), event_dispatcher(uri=uri)
    left_open.extend((client, dispatch))
    client.desk.say("a")
    dispatch("office", "opened", "before the end")
    client.desk.hold.call_async("sent last")
    return "left open"


def end_after_dropping(uri: str) -> str:
    """Have the client collected just before the end, with a call just sent."""
    be_patient()
    ClusterRpcClient(uri=uri).desk.hold.call_async("sent last")
    return "dropped"


def end_after_a_first_call_at_exit(uri: str) -> str:
    """Use a client and a dispatcher for the first time when the interpreter ends already."""
    client, dispatch = ClusterRpcClient(uri=uri), event_dispatcher(uri=uri)
    left_open.extend((client, dispatch))

    def at_exit() -> None:
        try:
            say(said=client.desk.say("at exit"))
            dispatch("office", "opened", "at exit")
        except ConnectionLost as exc:
            say(said=str(exc))

    atexit.register(at_exit)
    return "calls at exit"


def end_in_a_process_patched_meanwhile(uri: str) -> list[Any]:
    """Have eventlet patch the process between two uses of a client, and end without a stop."""
    client = ClusterRpcClient(uri=uri)
    left_open.append(client)
    said = [client.desk.say("before")]
    import eventlet

    eventlet.monkey_patch()
    return [*said, client.desk.say("after")]


def end_with_stop_at_exit(uri: str) -> str:
    client = ClusterRpcClient(uri=uri)
    client.start()
    atexit.register(client.stop)
    return "stops at exit"


def end_while_a_thread_calls(uri: str) -> str:
    client = ClusterRpcClient(uri=uri)
    cluster = client.start()
    threading.Thread(target=lambda: cluster.desk.hold("held"), daemon=True).start()
    wait_for(lambda: client._use()[1].replies._pending)
    return "a call is under way"


def end_while_the_broker_is_away(uri: str) -> str:
    client = ClusterRpcClient(uri=uri)
    client.desk.say("a")
    say(note="up")
    sys.stdin.readline()
    return "ends"


# Outages


def lose_calls(uri: str) -> dict[str, Any]:
    """Make calls before, during and after an outage, at the test's word."""
    with ClusterRpcClient({"AMQP_URI": uri}, timeout=20) as cluster:
        held = [cluster.desk.hold.call_async(number) for number in range(3)]
        say(note="held")
        sys.stdin.readline()
        began = monotonic()
        lost = [lost_because(call.result) for call in held]
        seconds = monotonic() - began
        during = lost_because(lambda: cluster.desk.say.with_options(timeout=0.2)("during"))
        say(note="lost")
        after = cluster.desk.say("after")
    return {"lost": lost, "seconds": seconds, "during": during, "after": after}


def use_a_broker_that_has_come_back(uri: str) -> dict[str, float]:
    """Lose the broker for so long that the next attempt to reach it is far, and use it when it is there again."""
    import rpcservice.amqp.connection as connection

    connection.pauses = lambda: repeat(600.0)
    client, dispatch = ClusterRpcClient(uri=uri, timeout=30), event_dispatcher(uri=uri, timeout=30)
    sessions = [client._use()[0], dispatch._use()[0]]
    client.desk.say("a")
    dispatch("office", "opened", "a")
    pauses: list[str] = []
    # The network may refuse an attempt, or break it off; and the clients are to wait after one that has failed.
    logging.getLogger("rpcservice.amqp.connection").addFilter(
        lambda record: pauses.append(record.getMessage()) or True if "trying again" in record.msg else True
    )
    say(note="up")
    sys.stdin.readline()
    wait_for(lambda: len(pauses) == len(sessions))
    say(note="pausing")
    sys.stdin.readline()
    seconds = {}
    for name, use in (("call", partial(client.desk.say, "b")), ("event", partial(dispatch, "office", "opened", "b"))):
        began = monotonic()
        use()
        seconds[name] = monotonic() - began
    client.stop()
    dispatch.stop()
    return seconds


def lost_because(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ConnectionLost as exc:
        return {"error": str(exc), "maybe_executed": exc.maybe_executed}


def flap(uri: str, threads: str) -> dict[str, Any]:
    """Call and send from many threads while the connection breaks again and again, until the test's word."""
    import rpcservice.amqp.connection

    rpcservice.amqp.connection.FIRST_PAUSE = 0.05
    is_over = threading.Event()
    good: list[int] = []
    lost: list[str] = []
    sent: list[Any] = []
    client, dispatch = ClusterRpcClient(uri=uri, timeout=20), event_dispatcher(uri=uri)

    def call(number: int) -> Iterable[Any]:
        turn = 0
        while not is_over.is_set():
            turn += 1
            given = lost_because(partial(client.desk.say, [number, turn]))
            if isinstance(given, dict):
                lost.append(given["error"])
            else:
                good.append(number)
                yield from differs("call", given, [number, turn])

    def send(number: int) -> Iterable[Any]:
        turn = 0
        while not is_over.is_set():
            turn += 1
            dispatch("office", "opened", [number, turn])
            sent.append([number, turn])
        return ()

    def work(number: int) -> Iterable[Any]:
        return call(number) if number % 4 else send(number)

    def obey() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if "end" in request:
                is_over.set()
            say(id=request["id"], good=len(good), sent=len(sent))

    client.start()
    dispatch("office", "opened", "first")
    threading.Thread(target=obey, daemon=True).start()
    say(note="up")
    wrong = in_threads(int(threads), work)
    left = len(client._use()[1].replies._pending)
    answer = {"wrong": wrong, "lost": len(lost), "good": len(good), "sent": sent, "pending": left}
    answer["unconfirmed"] = unconfirmed(dispatch)
    client.stop()
    dispatch.stop()
    return answer


if __name__ == "__main__":
    # Threads take turns fifty times as often as they would: what can go wrong between two steps does so.
    sys.setswitchinterval(1e-4)
    say(answer=globals()[sys.argv[1]](*sys.argv[2:]))
