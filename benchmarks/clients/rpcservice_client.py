"""rpcservice's client: a service whose ServiceRpc and EventDispatcher are driven by greenlets of one worker."""

import eventlet

eventlet.monkey_patch()

import load  # noqa: E402
from eventlet.event import Event  # noqa: E402

from rpcservice import EventDispatcher, ServiceRpc, ServiceRunner, timer  # noqa: E402

plan = load.read_plan()
done = Event()


class Client:
    name = "bench_client_rpcservice"
    target = ServiceRpc(plan.service)
    dispatch = EventDispatcher()

    @timer(interval=3600, eager=True)
    def drive(self):
        try:
            load.run_greenlets(plan, self.publish if plan.task == "publish" else self.call)
        finally:
            done.send()

    def call(self):
        answer = getattr(self.target, plan.method)(plan.argument)
        assert answer == plan.answer, answer

    def publish(self):
        self.dispatch("published", plan.event)


runner = ServiceRunner({"AMQP_URI": plan.uri, "max_workers": plan.max_workers})
runner.add_service(Client)
runner.start()
done.wait()
runner.kill()
