"""The asyncio program of the documentation."""

from collections.abc import Callable

from websites import python


def test_the_program_places_orders_side_by_side(uri: str, no_trace: Callable[[], None]) -> None:
    running = python("checkout", "tea", "pot", "cup", uri=uri)
    try:
        code = running.wait()
        assert (code, running.out, running.err) == (0, ["4040", "10 x pot: 29000", "coffee is not sold: KeyError"], [])
    finally:
        running.close()
    no_trace()
