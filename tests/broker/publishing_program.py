"""Run as ``publishing_program.py URI``: publishes on threads, which nothing has patched, and prints what came of it.

Some threads publish to an exchange that is there, others to exchanges that are not, all for the first time at once.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from rpcservice import Publisher, RpcServiceError
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import threads
from rpcservice.config import make_settings
from rpcservice.standalone.session import Session

THREADS = 24
TIMES = 20


class NoContext:
    context_data: dict[str, Any] = {}


def make_publish(session: Session) -> Callable[..., None]:
    """Give a publish function that is bound to a session and not to a service."""
    publisher: Any = Publisher().bind(session, "publish")  # type: ignore[arg-type]
    publisher.setup()
    publish: Callable[..., None] = publisher.get_dependency(NoContext())
    return publish


def main(uri: str) -> dict[str, Any]:
    session = Session(make_settings({"AMQP_URI": uri}), "publishing", threads())
    publish = make_publish(session)
    session.wait_until_up(None)
    sender = session.resource(ConfirmedSender, connection_key(session.config))
    shared = sender._channel.current
    barrier = threading.Barrier(THREADS)
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def run(number: int) -> None:
        is_wrong = bool(number % 3)
        exchange = f"absent-{number % 5}" if is_wrong else "there"
        barrier.wait()
        for _ in range(TIMES):
            try:
                publish(number, exchange=exchange, timeout=20, retry=False)
                outcome = "taken"
            except RpcServiceError as exc:
                outcome = f"{type(exc).__name__} {str(exc).partition(' in vhost')[0]}"
            with lock:
                outcomes[f"{exchange}: {outcome}"] += 1

    workers = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    is_same = sender._channel.current is shared
    session.stop()
    return {"outcomes": outcomes, "is_same_channel": is_same}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
