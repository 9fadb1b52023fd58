"""Service and client in one process, for ``python -m benchmarks.compare``: reports what a call or an event costs."""

import sys
import time

import driver
import eventlet
import load

from rpcservice import EventDispatcher, ServiceRpc

uri, task, in_flight, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
PAYLOAD = {"order": 4711, "sku": "sku-1", "quantity": 2, "customer": "somebody"}


class Called(driver.Greeter):
    name = "bench_called"


class Calling(driver.Client):
    name = "bench_calling"
    target = ServiceRpc("bench_called")
    dispatch = EventDispatcher()

    def measure(self):
        self.run(0.3)
        begun, cpu = time.perf_counter(), time.process_time()
        count = self.run(seconds)
        taken = time.perf_counter() - begun
        load.tell("end", rate=count / taken, cpu=(time.process_time() - cpu) / count * 1e6)

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


driver.run({"AMQP_URI": uri, "max_workers": 200}, Called, Calling)
