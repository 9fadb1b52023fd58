"""nameko's client: a service whose RpcProxy and EventDispatcher are driven by greenlets of one worker."""

import eventlet

eventlet.monkey_patch()

import load  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402
from nameko.events import EventDispatcher  # noqa: E402
from nameko.rpc import RpcProxy  # noqa: E402
from nameko.testing.services import dummy, entrypoint_hook  # noqa: E402

plan = load.read_plan()


class Client:
    name = "bench_client_nameko"
    target = RpcProxy(plan.service)
    dispatch = EventDispatcher()

    # Not an eager timer: it would fire before the reply queue is there, and the first call would hang for ever.
    @dummy
    def drive(self):
        load.run_greenlets(plan, self.publish if plan.task == "publish" else self.call)

    def call(self):
        answer = getattr(self.target, plan.method)(plan.argument)
        assert answer == plan.answer, answer

    def publish(self):
        self.dispatch("published", plan.event)


container = ServiceContainer(Client, config={"AMQP_URI": plan.uri, "max_workers": plan.max_workers})
container.start()
with entrypoint_hook(container, "drive") as drive:
    drive()
container.kill()
