"""The Flask application of the documentation, under gunicorn's threaded workers."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until
from websites import CLIENTS, Website, python

from rpcservice.testing import RabbitMQNode

WORKERS, THREADS = 2, 16


def serve(uri: str, *options: str, **variables: str) -> Website:
    threaded = ("--worker-class", "gthread", "--workers", str(WORKERS), "--threads", str(THREADS))
    command = ("gunicorn", *threaded, "--bind", "127.0.0.1:0", *options, "flask_meeting:app")
    return Website(python(*command, uri=uri, **variables), "Listening at", "Booting worker")


def orders(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [("POST", "/orders", {"sku": "tea", "quantity": number}) for number in range(1, count + 1)]


def assert_placed(answers: list[Any], count: int) -> None:
    """Each caller got the answer to its own call."""
    placed = [(201, {"sku": "tea", "quantity": number, "cents": 450 * number}) for number in range(1, count + 1)]
    assert answers == placed


@pytest.mark.parametrize(
    ("options", "variables"),
    [((), {}), (("--preload",), {}), (("--preload",), {"CALL_EARLY": "1"})],
    ids=["forked first", "made before the fork", "called before the fork"],
)
def test_threads_share_a_client(
    options: tuple[str, ...],
    variables: dict[str, str],
    uri: str,
    reply_queues: Callable[[], int],
    no_trace: Callable[[], None],
    rabbitmq: RabbitMQNode,
) -> None:
    """One connection and one reply queue a process, however many of its threads call at a time."""
    with serve(uri, *options, **variables) as website:
        assert_placed(website.ask_all(orders(200)), 200)
        answers = website.ask_all(("GET", f"/meet/{THREADS}/client-{number}") for number in range(CLIENTS))
        assert [answer["name"] for _, answer in answers] == [f"client-{number}" for number in range(CLIENTS)]
        # Where it called before the fork, the parent is a client too.
        clients = len({answer["pid"] for _, answer in answers}) + len(variables)
        assert clients <= reply_queues() <= WORKERS + len(variables)
        assert len(rabbitmq.connections(uri)) == reply_queues() + 1
    no_trace()


def test_workers_are_recycled_without_a_failed_request(uri: str, no_trace: Callable[[], None]) -> None:
    """A worker that ends takes its connection and its reply queue along."""
    with serve(uri, "--max-requests", "60") as website:
        assert_placed(website.ask_all(orders(400)), 400)
        assert website.log.count("Booting worker") > WORKERS
    no_trace()


def test_events_of_a_view_arrive(uri: str) -> None:
    with serve(uri) as website:
        assert website.ask_all([("GET", "/products/tea")] * 50) == [(200, {"sku": "tea"})] * 50
        wait_until(lambda: website.ask("GET", "/views")[1].get("/products/tea") == 50, "the events")


def test_errors_of_a_service_are_answers(uri: str) -> None:
    with serve(uri) as website:
        status, answer = website.ask("POST", "/orders", {"sku": "coffee", "quantity": 1})
    assert (status, answer) == (422, {"error": "KeyError: 'coffee'"})
