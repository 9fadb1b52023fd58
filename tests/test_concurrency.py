"""The same few names on greenlets and on threads."""

import contextvars
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import eventlet
import greenlet
import pytest
from waiting import wait_until

from rpcservice.concurrency import Backend, ThreadBackend, for_clients, green, threads
from rpcservice.concurrency.thread import FEW_TIMERS

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=[green, threads], ids=["green", "threads"])
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.param()
    return made


def test_an_event_stays_set_until_it_is_cleared(backend: Backend) -> None:
    event = backend.event()
    assert (event.is_set(), event.wait(0.001)) == (False, False)
    event.set()
    assert (event.is_set(), event.wait(), event.wait(0)) == (True, True, True)
    event.clear()
    assert (event.is_set(), event.wait(0.001)) == (False, False)


def test_an_event_wakes_all_who_wait(backend: Backend) -> None:
    event, ready = backend.event(), [backend.event() for _ in range(3)]

    def wait(mine: Any) -> None:
        mine.set()
        assert event.wait(5)

    tasks = [backend.spawn(wait, mine) for mine in ready]
    assert all(mine.wait(5) for mine in ready)
    event.set()
    assert all(task.wait(5) for task in tasks)


def test_an_event_that_is_set_in_its_turn_wakes_all_who_wait(backend: Backend) -> None:
    event, ready = backend.event(), [backend.event() for _ in range(3)]

    def wait(mine: Any) -> None:
        mine.set()
        assert event.wait(5)

    tasks = [backend.spawn(wait, mine) for mine in ready]
    assert all(mine.wait(5) for mine in ready)
    event.set_in_turn()
    assert all(task.wait(5) for task in tasks)
    assert (event.is_set(), event.wait(0)) == (True, True)


def test_greenlets_that_wait_for_an_event_set_in_its_turn_go_on_in_that() -> None:
    backend, order = green(), []
    event, ready = backend.event(), backend.event()

    def wait() -> None:
        ready.set()
        event.wait(5)
        order.append("waited")

    def next_turn() -> None:
        order.append("next turn")

    def set_it() -> None:
        backend.post(next_turn)
        event.set_in_turn()

    task = backend.spawn(wait)
    assert ready.wait(5)
    backend.post(set_it)
    assert task.wait(5)
    wait_until(lambda: len(order) == 2, "the next turn")
    assert order == ["waited", "next turn"]


def test_a_task_runs_beside_its_caller_and_tells_its_end(backend: Backend) -> None:
    go_on = backend.event()
    task = backend.spawn(go_on.wait, 5)
    assert task.is_alive()
    assert task.wait(0.001) is False
    go_on.set()
    assert task.wait(5) is True
    assert not task.is_alive()


def test_a_task_has_a_copy_of_its_callers_context(backend: Backend) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("changed")

    token = variable.set("given")
    try:
        assert backend.spawn(look).wait(5)
        assert (seen, variable.get()) == (["given"], "given")
    finally:
        variable.reset(token)


def test_a_started_function_has_an_empty_context(backend: Backend) -> None:
    seen, done = [], backend.event()

    def look(word: str) -> None:
        seen.append((word, variable.get()))
        done.set()

    token = variable.set("given")
    try:
        backend.start(look, "word")
        assert done.wait(5)
    finally:
        variable.reset(token)
    assert seen == [("word", "unset")]


def test_a_lock_lets_one_in_at_a_time(backend: Backend) -> None:
    lock, entered, second = backend.lock(), backend.event(), backend.event()

    def enter() -> None:
        entered.set()
        with lock:
            second.set()

    with lock:
        task = backend.spawn(enter)
        assert entered.wait(5)
        assert not second.wait(0.01)
    assert second.wait(5)
    assert task.wait(5)


def test_a_planned_call_comes_later(backend: Backend) -> None:
    done = backend.event()
    backend.call_later(0.001, done.set)
    assert done.wait(5)


def test_a_planned_call_can_be_called_off(backend: Backend) -> None:
    called_off, later = backend.event(), backend.event()
    timer = backend.call_later(0.01, called_off.set)
    backend.call_later(0.02, later.set)
    timer.cancel()
    assert later.wait(5)
    assert not called_off.is_set()
    timer.cancel()


def test_planned_calls_come_in_the_order_of_their_times(backend: Backend) -> None:
    order: list[int] = []
    done = backend.event()
    backend.call_later(0.03, done.set)
    for number in (2, 1, 0):
        backend.call_later(0.001 + 0.005 * number, order.append, number)
    assert done.wait(5)
    assert order == [0, 1, 2]


def test_an_owner_may_enter_a_guard_again(backend: Backend) -> None:
    guard = backend.guard()
    with guard, guard:
        pass
    with guard:
        pass


def test_a_guard_keeps_other_threads_out() -> None:
    backend, entered, inside = threads(), threading.Event(), threading.Event()
    guard = backend.guard()

    def enter() -> None:
        entered.set()
        with guard:
            inside.set()

    with guard:
        task = backend.spawn(enter)
        assert entered.wait(5)
        assert not inside.wait(0.01)
    assert task.wait(5)
    assert inside.is_set()


def clock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rpcservice-clock"]


def test_all_planned_calls_of_a_thread_backend_share_one_thread_that_ends_with_them() -> None:
    before, backend, done = len(clock_threads()), threads(), threading.Event()
    for number in range(50):
        backend.call_later(0.001 * number, len, ())
    backend.call_later(0.06, done.set)
    assert len(clock_threads()) == before + 1
    assert done.wait(5)
    wait_until(lambda: len(clock_threads()) == before, "the end of the clock")
    backend.call_later(0.001, done.clear)
    wait_until(lambda: not done.is_set(), "a call that is planned after that")


def test_a_planned_call_of_threads_that_fails_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    backend, done = threads(), threading.Event()
    backend.call_later(0, int, "no number")
    backend.call_later(0.001, done.set)
    assert done.wait(5)
    assert "a planned call failed" in caplog.text


def test_calls_that_were_called_off_are_not_kept_by_threads() -> None:
    backend = threads()
    kept = backend.call_later(3600, len, ())
    for _ in range(1000):
        backend.call_later(3600, len, ()).cancel()
    assert len(backend._clock._timers) <= 2 * FEW_TIMERS
    kept.cancel()


def test_greenlets_are_at_home_in_their_thread_and_threads_everywhere() -> None:
    from eventlet.patcher import original

    backend, found = green(), []
    real, done = original("threading"), threading.Event()

    def look() -> None:
        found.extend([backend.is_home(), threads().is_home()])
        backend.post(done.set)

    real.Thread(target=look, daemon=True).start()
    assert done.wait(5)
    assert found == [False, True]
    assert (backend.is_home(), threads().is_home()) == (True, True)


def test_clients_get_greenlets_in_a_patched_process() -> None:
    assert for_clients() is green()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("", "threads threads"),
        ("import eventlet", "threads threads"),
        ("import eventlet; eventlet.monkey_patch(thread=False)", "threads threads"),
        ("import eventlet; eventlet.monkey_patch()", "eventlet eventlet"),
        ("from rpcservice.concurrency import green; green()", "threads eventlet"),
    ],
)
def test_the_backend_of_clients_depends_on_the_process(code: str, names: str) -> None:
    """The second one is for a broker in the process itself."""
    look = (
        "from rpcservice.concurrency import for_clients; print(for_clients().name, for_clients(is_embedded=True).name)"
    )
    command = [sys.executable, "-W", "ignore", "-c", f"{code}\n{look}"]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout == f"{names}\n"


def test_sleeping_lets_others_run(backend: Backend) -> None:
    ran = backend.event()
    task = backend.spawn(ran.set)
    backend.sleep(0.001)
    assert ran.wait(5)
    assert task.wait(5)


def test_a_posted_call_runs(backend: Backend) -> None:
    done = backend.event()
    backend.post(done.set)
    assert done.wait(5)


def test_calls_posted_from_another_thread_run_where_the_greenlets_live() -> None:
    from eventlet.patcher import original

    # In a patched process the module's own threads are greenlets.
    real = original("threading")
    backend, done, seen = green(), green().event(), []

    def note(number: int) -> None:
        seen.append((number, real.get_ident()))
        if number == 999:
            done.set()

    def post() -> None:
        for number in range(1000):
            backend.post(note, number)

    real.Thread(target=post, daemon=True).start()
    assert done.wait(5)
    assert [number for number, _ in seen] == list(range(1000))
    assert {ident for _, ident in seen} == {real.get_ident()}


def test_a_killed_greenlet_ends_where_it_waits() -> None:
    entered, ended = green().event(), []

    def wait() -> None:
        try:
            entered.set()
            green().event().wait()
        finally:
            ended.append(True)

    task = green().spawn(wait)
    assert entered.wait(5)
    task.kill()
    assert (ended, task.is_alive(), task.wait(0)) == ([True], False, True)


def test_a_greenlet_can_be_killed_before_its_first_turn() -> None:
    ran: list[bool] = []
    task = green().spawn(ran.append, True)
    task.kill()
    assert task.wait(5)
    assert ran == []


def test_a_greenlet_that_is_killed_when_its_work_has_ended_gets_no_other_work() -> None:
    """What it was given would never be done."""
    backend, handles = green(), []
    first = backend.spawn(lambda: handles.append(backend.current()))
    assert first.wait(5)
    backend.sleep(0)
    backend.kill(handles[0])
    tasks = [backend.spawn(backend.sleep, 0) for _ in range(50)]
    assert all(task.wait(5) for task in tasks)


def test_a_thread_cannot_be_killed() -> None:
    go_on = threading.Event()
    task = threads().spawn(go_on.wait, 5)
    task.kill()
    threads().kill(threads().current())
    assert task.is_alive()
    go_on.set()
    assert task.wait(5)


def test_a_greenlet_waiter_whose_time_ran_out_is_woken_once() -> None:
    event, turns = green().event(), []

    def wait() -> None:
        turns.append(event.wait(0.001))
        turns.append(event.wait(5))

    task = green().spawn(wait)
    assert not task.wait(0.01)
    event.set()
    assert task.wait(5)
    assert turns == [False, True]


def test_who_waits_again_at_once_when_woken_waits_for_the_next_time() -> None:
    event, woken = green().event(), []

    def wait() -> None:
        for _ in range(3):
            woken.append(event.wait(5))
            event.clear()

    task = green().spawn(wait)
    for count in range(1, 4):
        green().sleep(0.001)
        event.set()
        wait_until(lambda count=count: len(woken) >= count, "the next wake-up")
        assert len(woken) == count
    assert task.wait(5)
    assert woken == [True] * 3


def test_the_time_of_an_earlier_wait_does_not_end_a_later_one() -> None:
    event, woken = green().event(), []

    def wait() -> None:
        woken.append(event.wait(0.02))
        event.clear()
        woken.append(event.wait(5))

    task = green().spawn(wait)
    green().sleep(0)
    event.set()
    # The time of the first wait runs out.
    green().sleep(0.05)
    assert woken == [True]
    event.set()
    assert task.wait(5)
    assert woken == [True, True]


def test_one_that_is_killed_while_it_waits_leaves_the_others_waiting() -> None:
    event, woken = green().event(), []
    tasks = [green().spawn(lambda: woken.append(event.wait(5))) for _ in range(3)]
    green().sleep(0)
    tasks[0].kill()
    tasks[1].kill()
    event.set()
    assert all(task.wait(5) for task in tasks)
    assert woken == [True]


def test_an_event_goes_on_without_those_who_are_killed_after_it_was_set() -> None:
    event, woken = green().event(), []
    tasks = [green().spawn(lambda: woken.append(event.wait(5))) for _ in range(3)]
    green().sleep(0)
    event.set()
    tasks[0].kill()
    tasks[2].kill()
    assert tasks[1].wait(5)
    assert woken == [True]


@pytest.mark.parametrize("waits_before", [0, 1])
def test_a_wait_that_does_not_come_about_leaves_nobody_to_be_woken(
    waits_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was woken all the same would go on wherever it waits by then, as if that had happened."""
    backend: Any = green()
    event, other, woken = backend.event(), backend.event(), list[bool]()
    add = backend.deadlines.add

    def add_and_be_interrupted(seconds: float, sleeper: Any) -> None:
        add(seconds, sleeper)
        raise KeyboardInterrupt

    def wait() -> None:
        for _ in range(waits_before):
            event.wait(0)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(backend.deadlines, "add", add_and_be_interrupted)
            event.wait(0.001)
        event.set()
        woken.append(other.wait(5))

    task = backend.spawn(wait)
    backend.sleep(0.02)
    assert woken == []
    other.set()
    assert task.wait(5)
    assert woken == [True]


@pytest.mark.parametrize("victim", ["another", "itself", "one that has not begun"])
def test_who_kills_is_woken_by_that_no_later(victim: str) -> None:
    """It may be ended there itself, or its time may run out; its next wait has nothing to do with that."""
    backend, other, woken = green(), green().event(), list[bool]()
    killed = backend.spawn(backend.sleep, 60)
    if victim == "another":
        backend.sleep(0)

    def kill_and_wait() -> None:
        try:
            with eventlet.Timeout(0):
                backend.kill(backend.current()) if victim == "itself" else killed.kill()
        except (eventlet.Timeout, greenlet.GreenletExit) as exc:
            woken.append(isinstance(exc, greenlet.GreenletExit))
        woken.append(other.wait(5))

    task = backend.spawn(kill_and_wait)
    backend.sleep(0.01)
    assert woken == [victim == "itself"]
    assert victim == "itself" or killed.wait(0)
    other.set()
    assert task.wait(5)
    assert woken == [victim == "itself", True]
    killed.kill()


@pytest.mark.parametrize("waits_before", [0, 1])
def test_what_was_to_wake_somebody_earlier_ends_no_wait(waits_before: int) -> None:
    """As eventlet's kill leaves it behind, in the code of services, when a time-out breaks it off."""
    event, woken = green().event(), list[bool]()

    def wait() -> None:
        for _ in range(waits_before):
            event.wait(0)
        for seconds in (0, 0.001):
            eventlet.hubs.get_hub().schedule_call_global(seconds, greenlet.getcurrent().switch)
        woken.append(event.wait(5))

    task = green().spawn(wait)
    green().sleep(0.02)
    assert woken == []
    event.set()
    assert task.wait(5)
    assert woken == [True]


def test_what_was_to_wake_somebody_earlier_is_no_work(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def leave_a_timer() -> None:
        seen.append(greenlet.getcurrent())
        eventlet.hubs.get_hub().schedule_call_global(0, greenlet.getcurrent().switch)

    green().start(leave_a_timer)
    green().sleep(0.01)
    green().start(leave_a_timer)
    green().sleep(0.01)
    assert seen[0] is seen[1]
    assert capfd.readouterr().err == ""


def test_each_thread_has_one_greenlet_backend() -> None:
    from eventlet.patcher import original

    assert green() is green()
    in_greenlets: list[Backend] = []
    tasks = [green().spawn(lambda: in_greenlets.append(green())) for _ in range(2)]
    assert all(task.wait(5) for task in tasks)
    assert in_greenlets == [green()] * 2
    found: list[Backend] = []
    thread = original("threading").Thread(target=lambda: found.append(green()))
    thread.start()
    thread.join(5)
    assert found[0] is not green()


def test_threads_may_always_use_sockets_and_greenlets_only_when_patched() -> None:
    from eventlet.patcher import is_monkey_patched

    assert ThreadBackend().can_use_sockets() is True
    assert green().can_use_sockets() is is_monkey_patched("socket")


def test_backends_have_names() -> None:
    assert (green().name, threads().name) == ("eventlet", "threads")


def test_the_thread_backend_needs_no_eventlet() -> None:
    code = (
        "import sys; from rpcservice.concurrency import threads; "
        "assert threads().spawn(print).wait(5); assert 'eventlet' not in sys.modules"
    )
    # Measuring coverage imports eventlet by itself.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=30)


def test_what_a_signal_handler_raises_breaks_no_event_and_no_clock() -> None:
    """A KeyboardInterrupt or a worker's time-out may come between any two steps of the main thread."""
    command = [sys.executable, str(Path(__file__).parent / "storm.py")]
    # Without coverage, whose own steps in Python an exception would come between as well.
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
    assert found.stdout == "True [True, True, True]\n"


def test_a_time_out_that_a_call_leaves_behind_ends_no_other_call(caplog: pytest.LogCaptureFixture) -> None:
    """Greenlets are used again, one call after the other."""
    seen: list[Any] = []

    def leave() -> None:
        seen.append(greenlet.getcurrent())
        eventlet.Timeout(0.02)

    def wait() -> None:
        seen.append(greenlet.getcurrent())
        green().sleep(0.1)
        seen.append("waited")

    green().start(leave)
    green().sleep(0)
    green().sleep(0)
    green().start(wait)
    wait_until(lambda: len(seen) == 3, "the second call")
    assert seen[0] is seen[1]
    assert "a time-out came too late" in caplog.text


def test_a_time_out_ends_the_call_that_has_set_it() -> None:
    seen: list[str] = []

    def wait() -> None:
        with eventlet.Timeout(0.02, False):
            green().sleep(5)
        seen.append("in time")

    green().start(wait)
    wait_until(lambda: seen == ["in time"], "the end of the call")


def test_a_waiter_that_raises_keeps_no_other_from_being_woken() -> None:
    event, woken = green().event(), []

    def wait_and_raise() -> None:
        event.wait()
        raise ValueError("the first")

    def wait() -> None:
        woken.append(event.wait(5))

    eventlet.spawn(wait_and_raise)
    task = green().spawn(wait)
    green().sleep(0)
    green().sleep(0)
    event.set()
    assert task.wait(5)
    assert woken == [True]
