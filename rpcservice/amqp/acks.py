"""Acks, the acknowledgements of one channel: those of a turn of the loop go out in as few frames as they need."""

from collections.abc import Callable

from rpcservice.amqp.frames import ack_frame
from rpcservice.concurrency import Backend

Write = Callable[[bytes], object]
"""Leaves bytes for the writer."""
Hold = Callable[[int], object]
"""Notes a delivery by its tag."""
Leave = Callable[[Callable[[], object]], object]
"""Has a call made before the writer sends next."""


def make_acks(number: int, write: Write, leave: Leave, backend: Backend) -> "Acks | DirectAcks":
    """Give the acknowledgements of a channel; on threads nobody knows when a turn ends, so nothing is gathered."""
    return DirectAcks(number, write) if backend.name == "threads" else Acks(number, write, leave)


class Acks:
    """Gathers what is acknowledged in a turn; where all that came before is done with, one frame is enough for many.

    A broker spends more on a frame than on a message (AMQP 0-9-1 section 1.8.3.13: ``multiple``).

    Args:
        number: The channel's number.
        write: Leaves bytes for the writer.
        leave: Has a call made before the writer sends next.

    Attributes:
        hold: Notes a delivery that is to be acknowledged.
    """

    def __init__(self, number: int, write: Write, leave: Leave) -> None:
        self._number = number
        self._write = write
        self._leave = leave
        # In the order in which the broker has sent them, which is that of their tags.
        self._held: dict[int, None] = {}
        self.hold: Hold = self._held.setdefault
        self._done: set[int] = set()
        self._is_due = False

    def holder(self, no_ack: bool) -> Hold | None:
        """Give what is to be called for each delivery of a consumer; None where there is nothing to note."""
        return None if no_ack else self.hold

    def forget(self, delivery_tag: int, multiple: bool = False) -> None:
        """Leave what has gathered for the writer, and have nothing more to do with a delivery, which a frame settles.

        Args:
            delivery_tag: The delivery.
            multiple: All up to it; with 0, all that there are.
        """
        self.send()
        if not multiple:
            self._held.pop(delivery_tag, None)
            return
        for held in list(self._held):
            if not delivery_tag or held <= delivery_tag:
                del self._held[held]

    def add(self, delivery_tag: int) -> None:
        """Acknowledge a delivery, at the end of this turn."""
        self._done.add(delivery_tag)
        if not self._is_due:
            # In this order: Ctrl-C may come in between, and to be asked once too often does no harm.
            self._leave(self.send)
            self._is_due = True

    def send(self) -> None:
        """Leave what has gathered for the writer."""
        self._is_due = False
        held, done = self._held, self._done
        ready = []
        for delivery_tag in held:
            if delivery_tag not in done:
                break
            ready.append(delivery_tag)
        # Taken out before they are written: a second ack of a message would cost the channel.
        for delivery_tag in ready:
            del held[delivery_tag]
            done.discard(delivery_tag)
        if ready:
            self._write(ack_frame(self._number, ready[-1], len(ready) > 1))
        for delivery_tag in sorted(done):
            held.pop(delivery_tag, None)
            done.discard(delivery_tag)
            self._write(ack_frame(self._number, delivery_tag, False))

    def clear(self) -> None:
        """Forget everything: the channel is gone, and the broker gives what was on it to somebody again."""
        self._held.clear()
        self._done.clear()


class DirectAcks:
    """Has each acknowledgement written at once; used as :class:`Acks` is."""

    def __init__(self, number: int, write: Write) -> None:
        self._number = number
        self._write = write

    def holder(self, no_ack: bool) -> None:
        """Say that there is nothing to note."""

    def forget(self, delivery_tag: int, multiple: bool = False) -> None:
        """Forget nothing."""

    def add(self, delivery_tag: int) -> None:
        """Acknowledge a delivery."""
        self._write(ack_frame(self._number, delivery_tag, False))

    def send(self) -> None:
        """Leave nothing for the writer: it has everything."""

    def clear(self) -> None:
        """Forget nothing."""
