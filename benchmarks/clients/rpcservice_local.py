"""Service and client in one process, ``prefer_local=True``: first one call after the other, then many at once."""

import driver
import load

from rpcservice import ServiceRpc, rpc

plan = load.read_plan()


class Bench(driver.Greeter):
    name = "bench_local"

    @rpc
    def echo(self, text):
        return text


class Client(driver.Client):
    name = "bench_client_local"
    target = ServiceRpc("bench_local", prefer_local=True)

    def measure(self):
        driver.measure_one_and_many(plan, self.call)

    def call(self):
        answer = self.target[plan.method](plan.argument)
        assert answer == plan.answer, answer


driver.run({"AMQP_URI": plan.uri, "max_workers": plan.max_workers}, Bench, Client)
