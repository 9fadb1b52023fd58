"""A service whose processes tests kill: it writes a row for each run, and dies where a file tells it to."""

import os
import signal
from pathlib import Path
from time import monotonic
from typing import Any

from eventlet import sleep
from sqlalchemy import text

from rpcservice import Config, Database, DependencyProvider, WorkerContext, event_handler, rpc

CREATE = "CREATE TABLE effects (what TEXT NOT NULL, process INTEGER NOT NULL)"


class Crash(DependencyProvider):
    """Kills the process once where it is reached, if there is a file of its name; another process goes on."""

    def __init__(self, name: str) -> None:
        self.name = name

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        order = Path(self.bound_to.config.raw["folder"], self.name)
        if error is None and order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class Effects:
    name = "effects"
    config = Config()
    database = Database()
    # Providers are handed the result in the order of their names.
    a_crash = Crash("before-commit")
    z_crash = Crash("after-commit")

    @event_handler("orders", "placed", idempotent=True, retry=True)
    def bill(self, order: Any) -> None:
        self._work(order)

    @rpc(idempotent=lambda order: order["what"])
    def buy(self, order: Any) -> Any:
        self._work(order)
        return [order["what"], os.getpid()]

    def _work(self, order: Any) -> None:
        what = order["what"]
        statement = text("INSERT INTO effects VALUES (:what, :process)")
        print(f"works on {what}", flush=True)
        gate = Path(self.config["folder"], order.get("gate", "no-gate"))
        deadline = monotonic() + 30
        while gate.exists():
            assert monotonic() < deadline
            sleep(0.02)
        self.database.execute(statement, {"what": what, "process": os.getpid()})
        print(f"has done {what}", flush=True)
