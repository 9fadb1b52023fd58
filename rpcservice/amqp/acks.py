"""Acks, the acknowledgements of one channel: those of a turn of the loop go out in as few frames as they need."""

from collections.abc import Callable

from rpcservice.amqp.frames import ack_frame


class Acks:
    """Gathers what is acknowledged in a turn; where all that came before is done with, one frame is enough for many.

    A broker spends more on a frame than on a message (AMQP 0-9-1 section 1.8.3.13: ``multiple``).

    Args:
        number: The channel's number.
        write: Leaves bytes for the writer.
        leave: Has a call made before the writer sends next.
    """

    def __init__(
        self, number: int, write: Callable[[bytes], object], leave: Callable[[Callable[[], object]], object]
    ) -> None:
        self._number = number
        self._write = write
        self._leave = leave
        # In the order in which the broker has sent them, which is that of their tags.
        self._held: dict[int, None] = {}
        self._done: set[int] = set()
        self._is_due = False

    def hold(self, delivery_tag: int) -> None:
        """Note a delivery that is to be acknowledged."""
        self._held[delivery_tag] = None

    def forget(self, delivery_tag: int, multiple: bool = False) -> None:
        """Have nothing more to do with a delivery, or with all up to it; with 0, with all that there are."""
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
            self._is_due = True
            self._leave(self.send)

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
