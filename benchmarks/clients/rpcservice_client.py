"""rpcservice's client: a service whose ServiceRpc and EventDispatcher are driven by greenlets of one worker."""

import driver
import load

from rpcservice import EventDispatcher, ServiceRpc

plan = load.read_plan()


class Client(driver.Client):
    name = "bench_client_rpcservice"
    target = ServiceRpc(plan.service)
    dispatch = EventDispatcher()

    def measure(self):
        load.run_greenlets(plan, self.publish if plan.task == "publish" else self.call)

    def call(self):
        answer = getattr(self.target, plan.method)(plan.argument)
        assert answer == plan.answer, answer

    def publish(self):
        self.dispatch("published", plan.event)


driver.run({"AMQP_URI": plan.uri, "max_workers": plan.max_workers}, Client)
