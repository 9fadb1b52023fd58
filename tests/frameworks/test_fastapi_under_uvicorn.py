"""The FastAPI application of the documentation, under uvicorn."""

from collections.abc import Callable

from waiting import wait_until
from websites import CLIENTS, Website, python

from rpcservice.testing import RabbitMQNode


def serve(uri: str, *options: str) -> Website:
    command = ("uvicorn", "fastapi_meeting:app", "--port", "0", *options)
    return Website(python(*command, uri=uri), "Uvicorn running on", "startup complete")


def test_requests_share_a_client(
    uri: str, reply_queues: Callable[[], int], no_trace: Callable[[], None], rabbitmq: RabbitMQNode
) -> None:
    """One process, many requests at a time: their calls are in flight together, on one connection."""
    with serve(uri) as website:
        orders = [("POST", "/orders", {"sku": "cup", "quantity": number}) for number in range(1, 201)]
        placed = [(201, {"sku": "cup", "quantity": number, "cents": 690 * number}) for number in range(1, 201)]
        assert website.ask_all(orders) == placed
        answers = website.ask_all(("GET", f"/meet/{CLIENTS}/client-{number}") for number in range(CLIENTS))
        assert [answer["name"] for _, answer in answers] == [f"client-{number}" for number in range(CLIENTS)]
        assert reply_queues() == 1
    no_trace()


def test_events_of_a_request_arrive(uri: str, no_trace: Callable[[], None]) -> None:
    with serve(uri) as website:
        assert website.ask_all([("GET", "/products/cup")] * 50) == [(200, {"sku": "cup"})] * 50
        wait_until(lambda: website.ask("GET", "/views")[1].get("/products/cup") == 50, "the events")
    no_trace()


def test_errors_of_a_service_are_answers(uri: str) -> None:
    with serve(uri) as website:
        assert website.ask("POST", "/orders", {"sku": "coffee", "quantity": 1}) == (
            422,
            {"error": "KeyError: 'coffee'"},
        )


def test_each_process_has_a_client_of_its_own(uri: str, no_trace: Callable[[], None]) -> None:
    with serve(uri, "--workers", "2") as website:
        orders = [("POST", "/orders", {"sku": "tea", "quantity": number}) for number in range(1, 201)]
        assert {status for status, _ in website.ask_all(orders)} == {201}
    no_trace()


def test_a_process_that_is_recycled_leaves_nothing_behind(uri: str, no_trace: Callable[[], None]) -> None:
    """It ends by itself when it has answered so many requests."""
    with serve(uri, "--limit-max-requests", "20") as website:
        orders = [("POST", "/orders", {"sku": "tea", "quantity": number}) for number in range(1, 21)]
        assert {website.ask(*order)[0] for order in orders} == {201}
        website.wait_for("Finished server process")
        no_trace()
