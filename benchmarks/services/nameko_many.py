"""20 nameko services for one process, 5 entrypoints each."""

from nameko.events import EventDispatcher, event_handler
from nameko.rpc import RpcProxy, rpc

COUNT = 20


def make_service(number):
    service = f"many_nameko_{number}"
    following = f"many_nameko_{(number + 1) % COUNT}"

    class Many:
        name = service
        neighbour = RpcProxy(following)
        dispatch = EventDispatcher()

        @rpc
        def hello(self, name):
            return f"Hello, {name}!"

        @rpc
        def relay(self, name):
            self.dispatch("first", {"name": name})
            return self.neighbour.hello(name)

        @event_handler(following, "first")
        def first(self, payload):
            return payload

        @event_handler(following, "second")
        def second(self, payload):
            return payload

        @event_handler(following, "third")
        def third(self, payload):
            return payload

    return Many


for _number in range(COUNT):
    globals()[f"Many{_number}"] = make_service(_number)
