"""Service and client in one process, ``prefer_local=True``: first one call after the other, then many at once."""

import dataclasses

import eventlet

eventlet.monkey_patch()

import load  # noqa: E402
from eventlet.event import Event  # noqa: E402

from rpcservice import ServiceRpc, ServiceRunner, rpc, timer  # noqa: E402

plan = load.read_plan()
done = Event()


class Bench:
    name = "bench_local"

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"

    @rpc
    def echo(self, text):
        return text


class Client:
    name = "bench_client_local"
    target = ServiceRpc("bench_local", prefer_local=True)

    @timer(interval=3600, eager=True)
    def drive(self):
        try:
            for in_flight in (1, plan.in_flight):
                load.run_greenlets(dataclasses.replace(plan, in_flight=in_flight), self.call)
        finally:
            done.send()

    def call(self):
        answer = self.target[plan.method](plan.argument)
        assert answer == plan.answer, answer


runner = ServiceRunner({"AMQP_URI": plan.uri, "max_workers": plan.max_workers})
runner.add_service(Bench)
runner.add_service(Client)
runner.start()
done.wait()
runner.kill()
