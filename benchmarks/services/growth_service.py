"""The services whose growth is measured, for ``rpcservice run``: as many as the configuration says, and two more."""

import os
import time

from eventlet.event import Event

from rpcservice import rpc

PREFIX = os.environ["GROWTH_PREFIX"]
COUNT = int(os.environ["GROWTH_SERVICES"])


class Meter:
    """Tells how much processor time the process has used, and by when."""

    name = f"{PREFIX}_meter"

    @rpc
    def read(self):
        return {"now": time.perf_counter(), "cpu": time.process_time()}


class Slow:
    """Answers when it is told to."""

    name = f"{PREFIX}_slow"
    waiting = 0
    gate = Event()

    @rpc
    def wait(self):
        Slow.waiting += 1
        try:
            return self.gate.wait()
        finally:
            Slow.waiting -= 1

    @rpc
    def count(self):
        return self.waiting

    @rpc
    def release(self):
        Slow.gate.send("released")
        Slow.gate = Event()


def make_service(service):
    class Growth:
        name = service

        @rpc
        def hello(self, name):
            return f"Hello, {name}!"

        @rpc
        def echo(self, text):
            return text

    return Growth


for _number in range(COUNT):
    globals()[f"Growth{_number}"] = make_service(f"{PREFIX}_{_number}")
