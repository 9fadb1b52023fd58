"""Service and client in one process, for ``python -m benchmarks.compare``: reports what a call or an event costs."""

import sys
import time

import eventlet

eventlet.monkey_patch()

import load  # noqa: E402
from eventlet.event import Event  # noqa: E402

from rpcservice import EventDispatcher, ServiceRpc, ServiceRunner, rpc, timer  # noqa: E402

uri, task, in_flight, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
PAYLOAD = {"order": 4711, "sku": "sku-1", "quantity": 2, "customer": "somebody"}
done = Event()


class Called:
    name = "bench_called"

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"


class Calling:
    name = "bench_calling"
    target = ServiceRpc("bench_called")
    dispatch = EventDispatcher()

    @timer(interval=3600, eager=True)
    def drive(self):
        try:
            self.run(0.3)
            begun, cpu = time.perf_counter(), time.process_time()
            count = self.run(seconds)
            taken = time.perf_counter() - begun
            load.tell("end", rate=count / taken, cpu=(time.process_time() - cpu) / count * 1e6)
        finally:
            done.send()

    def run(self, length):
        end, counts = time.perf_counter() + length, []

        def loop():
            count = 0
            while time.perf_counter() < end:
                if task == "publish":
                    self.dispatch("published", PAYLOAD)
                else:
                    assert self.target.hello("world") == "Hello, world!"
                count += 1
            counts.append(count)

        for thread in [eventlet.spawn(loop) for _ in range(in_flight)]:
            thread.wait()
        return sum(counts)


runner = ServiceRunner({"AMQP_URI": uri, "max_workers": 200})
runner.add_service(Called)
runner.add_service(Calling)
runner.start()
done.wait()
runner.kill()
