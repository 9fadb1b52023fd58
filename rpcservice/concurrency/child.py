"""What a child process does: the work that its parent sends, one piece after the other."""

import os
import pickle
import select
import signal
import threading
import traceback
from multiprocessing import spawn

from rpcservice.concurrency.childframes import receive_frame, send_frame
from rpcservice.errors import OffloadError

GRACE = 1.0
"""Seconds that a process without a parent has to end in order."""
STDIN = 0
"""Where a child has the socket to its parent."""


def serve() -> None:
    """Work until the parent closes its end."""
    # A whole group of processes may get them; whether there is still something to finish is the parent's business.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.dup(STDIN)
    # For functions that read it.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        # The main module and the like, as for processes of multiprocessing.
        spawn.prepare(pickle.loads(receive_frame(parent)))
        while True:
            send_frame(parent, _answer(receive_frame(parent)))
    except EOFError:
        return


def _end_with(parent: int) -> None:
    """End when the parent is gone, whatever is being worked on; who works on nothing ends by itself."""
    poll = select.poll()
    poll.register(parent, 0)
    poll.poll()
    threading.Event().wait(GRACE)
    os._exit(0)


def _in_words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        # Not even SystemExit: it is the text that has failed, and not this process.
        return f"{type(error).__name__}, whose text cannot be had"


def _answer(request: bytes) -> bytes:
    """Do one piece of work and give its outcome, as something that the parent can read."""
    try:
        function, args, kwargs = pickle.loads(request)
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as exc:
        text = f"in the process that ran it:\n{traceback.format_exc()}"
        exc.add_note(text)
        try:
            answer = pickle.dumps((None, exc))
            pickle.loads(answer)
        except Exception:
            # An exception that cannot be made again from its arguments, or holds something that stays here.
            error = OffloadError(_in_words(exc))
            error.add_note(text)
            return pickle.dumps((None, error))
        return answer
