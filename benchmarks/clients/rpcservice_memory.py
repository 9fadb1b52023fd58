"""Service and client in one process on the embedded broker: first one call after the other, then many at once."""

import driver
import load

from rpcservice import ServiceRpc

plan = load.read_plan()


class Bench(driver.Greeter):
    name = "bench_memory"


class Client(driver.Client):
    name = "bench_client_memory"
    target = ServiceRpc("bench_memory")

    def measure(self):
        driver.measure_one_and_many(plan, self.call)

    def call(self):
        answer = self.target.hello(plan.argument)
        assert answer == plan.answer, answer


driver.run({"AMQP_URI": "memory://", "max_workers": plan.max_workers}, Bench, Client)
