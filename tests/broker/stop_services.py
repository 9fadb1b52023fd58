"""Services for ``rpcservice run`` that tests stop: each run is noted in the file that JOURNAL names."""

import os

from rpcservice import ServiceRpc, event_handler, rpc


def note(text: str) -> None:
    """Add a line to the journal; several processes may do so at once."""
    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, f"{text}\n".encode())
    os.close(journal)


class Front:
    name = "front"
    judge = ServiceRpc("judge")
    back = ServiceRpc("back")

    @rpc
    def place(self, number: int) -> int:
        """Wait for the test, then call the service next to this one: by then the runner is stopping."""
        note(f"front {number} in {os.getpid()}")
        self.judge.wait(number, os.getpid())
        return self.back.work(number)

    @rpc
    def pass_on(self, number: int) -> int:
        """Call the service next to this one."""
        note(f"front {number} in {os.getpid()}")
        return self.back.work(number)

    @event_handler("source", "placed")
    def handle(self, number: int) -> None:
        """Wait for the test."""
        note(f"event {number} in {os.getpid()}")
        self.judge.wait(number, os.getpid())


class Back:
    name = "back"

    @rpc
    def work(self, number: int) -> int:
        note(f"back {number} in {os.getpid()}")
        return number * 2


class Stubborn:
    name = "stubborn"

    @rpc
    def spin(self) -> None:
        """Never give control back."""
        while True:
            continue
