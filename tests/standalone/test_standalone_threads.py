"""Clients in programs of their own, which nothing has patched: threads, forks and exits."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from json_process import JsonProcess
from standalone_desk import Desk, answer_of
from waiting import wait_until

from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = pytest.mark.broker

Run = Callable[..., Any]
Start = Callable[..., JsonProcess]

THREADS = 32
SOON = 10.0
"""Seconds within which something has happened at once, on a machine that is busy with other tests."""


@pytest.fixture
def broker() -> str:
    """These programs reach RabbitMQ alone."""
    return "rabbitmq"


def payloads(desk: type[Desk]) -> list[Any]:
    return [payload for payload, _ in desk.heard]


# Threads


def test_no_eventlet_is_imported_and_nothing_is_patched(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    assert run_program("modules", rabbitmq_uri) == {"found": [], "socket": "socket", "thread": "threading"}


def test_no_threads_are_left_when_clients_have_been_stopped(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str
) -> None:
    answer = run_program("threads_left", rabbitmq_uri)
    assert answer["during"] > 0
    assert answer["after"] == []


def test_each_of_many_threads_gets_its_own_replies(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    """Results, errors, time-outs and returns of all threads at once, on one connection."""
    assert run_program("calls", rabbitmq_uri, THREADS, 20) == {"wrong": [], "left": 0}


def test_all_threads_share_one_connection_and_one_reply_queue(
    desk: type[Desk], start_program: Start, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    before = len(rabbitmq.connections(rabbitmq_uri))
    program = start_program("flap", rabbitmq_uri, THREADS)
    program.wait_for(note="up")
    wait_until(lambda: program.ask()["good"] > 200, "calls of all threads")
    # One of the client and one of the dispatcher.
    assert len(rabbitmq.connections(rabbitmq_uri)) == before + 2
    assert sum(name.startswith("rpc.reply-") for name in rabbitmq.queues(rabbitmq_uri)) == 1


def test_many_threads_can_wait_for_one_call(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    answer = run_program("same_call", rabbitmq_uri, 8)
    assert answer == {"results": ["slow"] * 8, "called": ["slow"] * 8}


def test_each_callback_is_called_once(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    """Replies come while callbacks are being added."""
    answer = run_program("callbacks", rabbitmq_uri, 8, 200)
    assert answer == {"wrong": [], "called": 1600, "different": 1600}


def test_the_first_calls_of_many_threads_make_one_connection(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str
) -> None:
    answer = run_program("first_calls", rabbitmq_uri, THREADS)
    assert answer["results"] == list(range(THREADS))
    assert answer["threads"] == answer["threads of one"]


def test_blocks_of_many_threads_may_overlap(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    assert run_program("blocks", rabbitmq_uri, 16, 10) == []


def test_events_of_many_threads_are_confirmed_and_arrive_once(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str
) -> None:
    answer = run_program("events", rabbitmq_uri, THREADS, 50)
    assert (answer["wrong"], answer["left"]) == ([], 0)
    # A confirm that is missed would be a wait of publish_timeout, 30 seconds.
    assert answer["seconds"] < 25
    wait_until(lambda: len(desk.heard) >= THREADS * 50, "all events")
    assert sorted(payloads(desk)) == [[number, turn] for number in range(THREADS) for turn in range(50)]


def test_threads_share_a_connection_over_tls(
    desk: type[Desk], run_program: Run, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    """One reads while another writes, and OpenSSL lets only one of them in at a time."""
    assert rabbitmq.certificates is not None
    uri = rabbitmq.uri_for(rabbitmq_uri.rpartition("/")[2], tls=True)
    answer = run_program("tls", uri, rabbitmq.certificates.ca, 16)
    assert answer == {"wrong": [], "socket": "SharedTlsSocket"}
    wait_until(lambda: len(desk.heard) == 80, "all events")


def test_what_a_signal_handler_raises_in_one_thread_stops_no_other(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str
) -> None:
    """Afterwards all get answers and confirms, and the interrupted thread too."""
    answer = run_program("storm", rabbitmq_uri, 8, 3000)
    assert answer == {"wrong": [], "goes on": True, "pending": 0, "unconfirmed": 0}


def test_threads_reach_services_on_the_embedded_broker_of_their_process(run_program: Run) -> None:
    """In the thread that runs the services, a client runs on greenlets beside them."""
    numbers = list(range(8))
    answer = run_program("embedded", 8)
    assert answer == {"here": "here", "home": "eventlet", "done": True, "elsewhere": numbers, "heard": numbers}


# Forks


def test_a_client_that_was_used_before_a_fork_works_on_both_sides(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    """Even a call of the parent that is under way ends well after its children have come and gone."""
    program = start_program("fork_after_use", rabbitmq_uri)
    program.wait_for(timeout=60, note="forked")
    desk.gate.set()
    program.send()
    answer = answer_of(program)
    assert answer == {"before": ["parent"] * 2, "codes": [0, 0], "after": ["parent again", "held"]}
    children = sorted((line["child"], line["result"]) for line in program.lines if "child" in line)
    assert children == [(0, ["child 0"] * 2), (1, ["child 1"] * 2)]
    wait_until(lambda: len(desk.heard) == 4, "all events")
    assert sorted(payloads(desk)) == ["child 0", "child 1", "parent", "parent again"]


def test_a_call_of_the_parent_is_lost_at_once_to_a_child(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    """Where it waits for the result, and where it adds a callback, which is called."""
    answers = run_program("ask_a_child_for_a_call_of_the_parent", rabbitmq_uri)
    assert [answer["maybe_executed"] for answer in answers] == [True] * 2
    assert all("goes to the process that made the call, before a fork" in answer["error"] for answer in answers)


@pytest.mark.parametrize("link", ["frames", "channel"])
def test_a_child_closes_the_sockets_of_its_parent_and_harms_none(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str, link: str
) -> None:
    answer = run_program("sockets_in_a_child", rabbitmq_uri, link)
    assert answer == {"before": True, "child": ["child", []], "after": "parent"}


def test_threads_may_wait_longer_than_the_clock_goes(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    assert run_program("long_timeouts", rabbitmq_uri) == ["said"] * 4


def test_a_fork_in_the_midst_of_calls_harms_neither_side(desk: type[Desk], run_program: Run, rabbitmq_uri: str) -> None:
    assert run_program("fork_while_threads_call", rabbitmq_uri) == {"wrong": [], "codes": [0] * 5}


# Exits


def ends_soon(program: JsonProcess) -> int:
    """Give the exit code of a program that has given its answer."""
    answer_of(program)
    began = monotonic()
    code = program.wait(30)
    assert monotonic() - began < SOON
    return code


@pytest.mark.parametrize("how", ["end_without_stop", "end_after_dropping"])
def test_a_program_ends_without_stop_and_what_was_sent_is_sent(
    how: str, desk: type[Desk], start_program: Start, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    program = start_program(how, rabbitmq_uri)
    assert ends_soon(program) == 0
    wait_until(lambda: "sent last" in desk.entered, "the call that was sent last")
    assert not any(name.startswith("rpc.reply-") for name in rabbitmq.queues(rabbitmq_uri))
    assert "Traceback" not in program.log_tail()


def test_a_program_ends_although_a_client_is_first_used_when_it_ends(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    """Some Pythons start no threads then: it is told that nothing was sent."""
    program = start_program("end_after_a_first_call_at_exit", rabbitmq_uri)
    assert ends_soon(program) == 0
    said = next(line["said"] for line in program.lines if "said" in line)
    assert said == "at exit" or "no thread can be started" in said
    assert "Traceback" not in program.log_tail()


def test_a_program_may_stop_its_client_at_exit(desk: type[Desk], start_program: Start, rabbitmq_uri: str) -> None:
    """No thread can be started any more then."""
    program = start_program("end_with_stop_at_exit", rabbitmq_uri)
    assert ends_soon(program) == 0
    assert "Traceback" not in program.log_tail()


def test_a_program_ends_although_a_thread_waits_for_a_reply(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    assert ends_soon(start_program("end_while_a_thread_calls", rabbitmq_uri)) == 0


def test_a_program_ends_although_the_broker_is_away(desk: type[Desk], start_program: Start, rabbitmq_uri: str) -> None:
    with TcpProxy(rabbitmq_uri) as proxy:
        program = start_program("end_while_the_broker_is_away", proxy.uri)
        program.wait_for(timeout=60, note="up")
        proxy.refuse()
        program.send()
        assert ends_soon(program) == 0


def test_a_program_ends_that_eventlet_has_patched_after_the_first_use(
    desk: type[Desk], run_program: Run, rabbitmq_uri: str
) -> None:
    """What has been begun in threads goes on in them, with their locks."""
    assert run_program("end_in_a_process_patched_meanwhile", rabbitmq_uri, timeout=30) == ["before", "after"]


def test_a_program_ends_although_the_broker_has_gone_silent(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    with TcpProxy(rabbitmq_uri) as proxy:
        program = start_program("end_while_the_broker_is_away", proxy.uri)
        program.wait_for(timeout=60, note="up")
        proxy.black_hole()
        program.send()
        answer_of(program)
        assert program.wait(30) == 0


# Outages


def test_calls_under_way_fail_at_once_and_later_ones_wait_for_the_connection(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    with TcpProxy(rabbitmq_uri) as proxy:
        program = start_program("lose_calls", proxy.uri)
        program.wait_for(timeout=60, note="held")
        wait_until(lambda: len(desk.entered) == 3, "the start of the calls")
        proxy.refuse()
        program.send()
        program.wait_for(timeout=60, note="lost")
        proxy.resume()
        answer = answer_of(program)
    assert [lost["maybe_executed"] for lost in answer["lost"]] == [True] * 3
    assert answer["seconds"] < SOON
    assert answer["during"]["maybe_executed"] is False
    assert "nothing was sent" in answer["during"]["error"]
    assert answer["after"] == "after"


def test_who_waits_for_a_broker_that_has_come_back_uses_it_soon(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    """However long it has been away, and the next attempt would be far: here ten minutes."""
    with TcpProxy(rabbitmq_uri) as proxy:
        program = start_program("use_a_broker_that_has_come_back", proxy.uri)
        program.wait_for(timeout=60, note="up")
        proxy.refuse()
        program.send()
        program.wait_for(timeout=60, note="pausing")
        proxy.resume()
        program.send()
        answer = answer_of(program)
    assert max(answer.values()) < SOON


def test_a_connection_that_breaks_again_and_again_mixes_nothing_up(
    desk: type[Desk], start_program: Start, rabbitmq_uri: str
) -> None:
    """Each call gives its own result or ConnectionLost, and each event that was taken arrives."""
    with TcpProxy(rabbitmq_uri) as proxy:
        program = start_program("flap", proxy.uri, 16)
        program.wait_for(timeout=60, note="up")
        for _ in range(10):
            count = program.ask()
            wait_until(lambda count=count: further(program.ask(), count), "progress", 30)
            proxy.drop()
        program.send(end=True)
        answer = answer_of(program)
    assert answer["wrong"] == []
    assert (answer["pending"], answer["unconfirmed"]) == (0, 0)
    assert answer["good"] and answer["lost"]
    sent = {(number, turn) for number, turn in answer["sent"]}
    wait_until(lambda: sent <= {tuple(payload) for payload in payloads(desk)}, "all events")


def further(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(now["good"] > before["good"] + 30 and now["sent"] > before["sent"] + 5)
