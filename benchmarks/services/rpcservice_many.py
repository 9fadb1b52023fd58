"""20 services of rpcservice for one process, 5 entrypoints each."""

from rpcservice import EventDispatcher, ServiceRpc, event_handler, rpc

COUNT = 20


def make_service(number):
    service = f"many_rpcservice_{number}"
    following = f"many_rpcservice_{(number + 1) % COUNT}"

    class Many:
        name = service
        neighbour = ServiceRpc(following)
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
