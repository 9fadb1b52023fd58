"""What a child process does: the work that its parent sends, one piece after the other."""

import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from typing import Any

from rpcservice.concurrency.childframes import receive_frame, send_frame
from rpcservice.errors import OffloadError


def serve(requests: "Connection[Any, Any]", replies: "Connection[Any, Any]") -> None:
    """Work until the parent closes its end.

    Args:
        requests: Where pickled ``(function, args, kwargs)`` come from.
        replies: Where pickled ``(result, error)`` go to.
    """
    # A whole group of processes may get them; whether there is still something to finish is the parent's business.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            request = receive_frame(requests.fileno())
        except EOFError:
            return
        send_frame(replies.fileno(), _answer(request))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _answer(request: bytes) -> bytes:
    """Do one piece of work and give its outcome, as something that the parent can read."""
    try:
        function, args, kwargs = pickle.loads(request)
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as exc:
        text = traceback.format_exc()
        exc.add_note(f"in the process that ran it:\n{text}")
        try:
            answer = pickle.dumps((None, exc))
            pickle.loads(answer)
        except Exception:
            # An exception that cannot be made again from its arguments, or holds something that stays here.
            error = OffloadError(f"{type(exc).__name__}: {exc}")
            error.add_note(f"in the process that ran it:\n{text}")
            return pickle.dumps((None, error))
        return answer
