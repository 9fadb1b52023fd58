"""One service with websockets, for either framework; as a program, it is nameko's, and takes a port."""


def make_rooms(rpc, hub_provider):
    """Give the service, made of a framework's own decorator and dependency."""

    class Rooms:
        name = "rooms"
        hub = hub_provider()

        @rpc
        def say(self, socket_id, text="nothing"):
            return text

        @rpc
        def fail(self, socket_id):
            raise ValueError("no luck", 3)

        @rpc
        def join(self, socket_id, room):
            self.hub.subscribe(socket_id, room)
            self.hub.broadcast(room, "joined", {"room": [room, None, 1.5]})
            return self.hub.get_subscriptions(socket_id)

        @rpc
        def part(self, socket_id, room):
            self.hub.unsubscribe(socket_id, room)
            return self.hub.get_subscriptions(socket_id)

        @rpc
        def tell(self, socket_id, to=None):
            return self.hub.unicast(to or socket_id, "told", "psst")

        @rpc
        def lose(self, socket_id):
            self.hub.subscribe("nobody", "tea")

    return Rooms


def main(port):
    """Run nameko's."""
    import json

    from nameko.web.websocket import WebSocketHubProvider, rpc
    from nameko_both import make_runner, setup

    config = {"WEB_SERVER_ADDRESS": f"127.0.0.1:{port}", "AMQP_URI": "pyamqp://"}
    setup(config)
    runner = make_runner(config)
    runner.add_service(make_rooms(rpc, WebSocketHubProvider))
    runner.start()
    print(json.dumps({"ready": True}), flush=True)
    runner.wait()


if __name__ == "__main__":
    import sys

    import eventlet

    eventlet.monkey_patch()
    main(sys.argv[1])
