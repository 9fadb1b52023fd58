"""The Django project of the documentation: its views under gunicorn, and its management command."""

from collections.abc import Callable

from websites import Website, python


def serve(uri: str) -> Website:
    command = ("gunicorn", "--worker-class", "gthread", "--threads", "16", "--bind", "127.0.0.1:0", "shopsite.wsgi")
    return Website(python(*command, uri=uri), "Listening at", "Booting worker")


def run_command(uri: str, *args: str) -> tuple[int, list[str], list[str]]:
    """Run a management command to its end; gives exit code, output and errors."""
    running = python("django", *args, "--settings", "shopsite.settings", uri=uri)
    try:
        return running.wait(), running.out, running.err
    finally:
        running.close()


def test_views_call_services_and_send_events(
    uri: str, reply_queues: Callable[[], int], no_trace: Callable[[], None]
) -> None:
    """All threads of the process share a client."""
    with serve(uri) as website:
        orders = [("POST", "/orders", {"sku": "pot", "quantity": number}) for number in range(1, 201)]
        placed = [(201, {"sku": "pot", "quantity": number, "cents": 2900 * number}) for number in range(1, 201)]
        assert website.ask_all(orders) == placed
        assert website.ask_all([("GET", "/products/pot")] * 50) == [(200, {"sku": "pot"})] * 50
        refused = website.ask("POST", "/orders", {"sku": "coffee", "quantity": 1})
        assert refused == (422, {"error": "KeyError: 'coffee'"})
        assert reply_queues() == 1
    no_trace()


def test_a_management_command_calls_a_service(uri: str, no_trace: Callable[[], None]) -> None:
    assert run_command(uri, "place_order", "cup", "3") == (0, ["3 x cup: 20.70"], [])
    no_trace()


def test_a_management_command_tells_what_went_wrong(uri: str, no_trace: Callable[[], None]) -> None:
    assert run_command(uri, "place_order", "coffee", "3") == (1, [], ["CommandError: KeyError 'coffee'"])
    no_trace()
