"""Calls the services whose growth is measured, one point of a curve after the other, and reports on each.

It is a service itself, whose ClusterRpc is driven by greenlets of one worker. The load stays on from the warm-up to the
end of a point, so that neither its start nor its end is measured.
"""

import json
import sys
import time
from itertools import cycle

import driver
import eventlet
import load

from rpcservice import ClusterRpc, UnknownService

PAUSE = 0.02
"""Seconds between looks for what is about to come."""

plan = json.loads(sys.argv[1])


class Load:
    """Keeps so many calls under way, from as many greenlets, until it is ended."""

    def __init__(self, call, in_flight):
        self.latencies = []
        self._call = call
        self._is_over = False
        self._greenlets = [eventlet.spawn(self._loop) for _ in range(in_flight)]

    def _loop(self):
        clock = time.perf_counter
        begun = clock()
        while not self._is_over:
            self._call()
            now = clock()
            self.latencies.append(now - begun)
            begun = now

    def end(self):
        """End, and raise what a call raised."""
        self._is_over = True
        for greenlet in self._greenlets:
            greenlet.wait()


class Client(driver.Client):
    name = "growth_client"
    cluster = ClusterRpc()

    def measure(self):
        for point in plan["points"]:
            self.measure_point(point)
        load.tell("done")

    def measure_point(self, point):
        called = point["called"] or point["services"]
        services = [self.cluster[f"{point['prefix']}_{number}"] for number in range(called)]
        for service in services:
            self.await_answer(service)
        meter, slow = self.cluster[f"{point['prefix']}_meter"], self.cluster[f"{point['prefix']}_slow"]
        pending = self.make_pending(slow, point["pending"])
        running = Load(self.make_call(services, point["payload"]), point["in_flight"])
        eventlet.sleep(plan["warmup"])
        self.take(running.latencies, meter)
        running.end()
        if pending:
            slow.release()
            answers = {greenlet.wait() for greenlet in pending}
            assert answers == {"released"}, answers

    def await_answer(self, service):
        while True:
            try:
                return service.hello("world")
            except UnknownService:
                eventlet.sleep(PAUSE)

    def make_pending(self, slow, count):
        """Give greenlets that wait for as many answers, when all of the calls have come to the service."""
        pending = [eventlet.spawn(slow.wait) for _ in range(count)]
        while pending and slow.count() < count:
            eventlet.sleep(PAUSE)
        return pending

    def make_call(self, services, payload):
        """Give a function that calls the services in turn."""
        following = cycle(services).__next__
        argument, method = ("x" * payload, "echo") if payload else ("world", "hello")
        expected = argument if payload else "Hello, world!"

        def call():
            answer = following()[method](argument)
            assert answer == expected, answer

        return call

    def take(self, latencies, meter):
        """Measure for the plan's time, and report."""
        load.tell("begin")
        before = meter.read()
        latencies.clear()
        cpu, begun = time.process_time(), time.perf_counter()
        eventlet.sleep(plan["seconds"])
        taken, seconds, cpu = sorted(latencies), time.perf_counter() - begun, time.process_time() - cpu
        after = meter.read()
        calls = len(taken) / seconds
        used = (after["cpu"] - before["cpu"]) / (after["now"] - before["now"])
        load.tell(
            "end",
            calls=calls,
            p50=load.percentile(taken, 0.5),
            p99=load.percentile(taken, 0.99),
            service_cpu=used / calls,
            client_cpu=cpu / len(taken),
        )


driver.run({"AMQP_URI": plan["uri"]}, Client)
