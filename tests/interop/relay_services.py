"""Run as ``relay_services.py URI NAME``, a service of nameko's that passes a call on along a path.

``relay_drop_in`` is run by our Python, without nameko.
"""
# ruff: noqa: E402, for eventlet has to patch before anything else is imported

import sys

import eventlet

URI, NAME = sys.argv[1:]
eventlet.monkey_patch()
if NAME == "relay_drop_in":
    from rpcservice.compat import nameko

    nameko.install()

import json
import logging

import nameko_both
from nameko.extensions import DependencyProvider
from nameko.rpc import rpc

CONFIG = {"AMQP_URI": URI}
nameko_both.setup(CONFIG)


class Context(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return dict(worker_ctx.context_data)


class Relay:
    name = NAME
    context = Context()
    relay_2 = nameko_both.ServiceRpc("relay_2")
    relays_3 = nameko_both.ServiceRpc("relays.3")
    relay_drop_in = nameko_both.ServiceRpc("relay_drop_in")
    relays_ours = nameko_both.ServiceRpc("relays.ours")

    @rpc
    def relay(self, path):
        """Give the context data of this call, and those of the calls behind it."""
        rest = getattr(self, path[0].replace(".", "_")).relay(path[1:]) if path else []
        return [self.context, *rest]


logging.basicConfig(level=logging.INFO)
runner = nameko_both.make_runner(CONFIG)
runner.add_service(Relay)
runner.start()
print(json.dumps({"ready": True}), flush=True)
runner.wait()
