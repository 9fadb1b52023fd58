"""A program that sends HTTP requests by a balancer until SIGTERM, and notes in a ledger how each was answered.

``python http_load.py LEDGER REQUESTS_A_SECOND PORT PORT``, with the ports of two instances; it ends when all that it
has begun has ended.
"""

import asyncio
import http.client
import signal
import sys
import threading
from itertools import count
from random import random
from time import monotonic

from balancer import Balancer
from ledger import Ledger

CLIENTS = 20


class HttpLoad:
    def __init__(self, ledger: Ledger, rate: float, balancer: Balancer) -> None:
        self.ledger = ledger
        self.pause = CLIENTS / rate
        self.balancer = balancer
        self.stopped = threading.Event()
        self.numbers = count(1)
        self.loop = asyncio.new_event_loop()

    def ask(self, port: int) -> None:
        """Send requests over one connection, one after the other."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        due = monotonic() + random() * self.pause
        while not self.stopped.wait(max(0, due - monotonic())):
            due += self.pause
            number = f"h{next(self.numbers)}"
            self.ledger.note("requested", number)
            # Not idempotent, so that nobody may send it a second time.
            connection.request("POST", f"/counts/{number}", body=b"x" * 1000)
            response = connection.getresponse()
            answer = response.read().decode()
            if response.status == 200:
                self.ledger.note("responded", answer)
            else:
                self.ledger.note("refused", f"{number} {response.status} {answer}")
        connection.close()

    def run(self) -> None:
        """Go on until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *args: self.stopped.set())
        turning = threading.Thread(target=self.loop.run_forever)
        turning.start()
        starting = asyncio.start_server(self.balancer.serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self.loop).result(30)
        port = server.sockets[0].getsockname()[1]
        clients = [threading.Thread(target=self.ask, args=(port,)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        print("running", flush=True)
        self.stopped.wait()
        for client in clients:
            client.join()
        self.loop.call_soon_threadsafe(self.loop.stop)
        turning.join()
        print(f"all has ended, after {self.balancer.retries} refused connections", flush=True)


if __name__ == "__main__":
    instances = [("127.0.0.1", int(port)) for port in sys.argv[3:]]
    HttpLoad(Ledger(sys.argv[1]), float(sys.argv[2]), Balancer(instances)).run()
