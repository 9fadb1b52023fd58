"""Two services for ``rpcservice run --workers N``: one answers at once, the other computes for about a millisecond."""

from rpcservice import rpc


class Short:
    name = "workers_rpcservice_0"

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"


class Busy:
    name = "workers_rpcservice_1"

    @rpc
    def hello(self, name):
        total = 0
        for number in range(20_000):
            total += number
        assert total
        return f"Hello, {name}!"
