"""A small HTTP balancer: it keeps connections on both sides, and retries only one that is refused, once."""

import asyncio
from itertools import count

from rpcservice.testing.ports import is_open

HEAD_END = b"\r\n\r\n"
LOOK = 0.2
"""Seconds from one look at an instance that refused a connection to the next."""

Address = tuple[str, int]


class Peer:
    """A connection, with what is read from it message by message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        """Give the next request or response; its body has a Content-Length or is empty."""
        head = await self.reader.readuntil(HEAD_END)
        length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        return head + await self.reader.readexactly(int(length))

    async def ask(self, request: bytes) -> bytes:
        """Send a request and give the response."""
        self.writer.write(request)
        await self.writer.drain()
        return await self.read()

    @property
    def has_ended(self) -> bool:
        """Whether the other side is known to have closed it."""
        return self.reader.at_eof() or self.writer.is_closing()


class Balancer:
    """Hands requests on to instances in turn; an instance that refuses a connection is left out until it is healthy.

    Args:
        instances: Their addresses.
    """

    def __init__(self, instances: list[Address]) -> None:
        self._turns = count()
        self._healthy = dict.fromkeys(instances)
        self._idle: dict[Address, list[Peer]] = {instance: [] for instance in instances}
        self._looks: set[asyncio.Task[None]] = set()
        self.retries = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client until it goes."""
        client = Peer(reader, writer)
        try:
            while True:
                writer.write(await self._hand_on(await client.read()))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def _hand_on(self, request: bytes) -> bytes:
        try:
            instance, peer = await self._connect()
            response = await peer.ask(request)
        except (OSError, EOFError) as exc:
            reason = f"{type(exc).__name__}: {exc}".encode()
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n%b" % (len(reason), reason)
        if b"\r\nconnection: close\r\n" in response.lower():
            peer.writer.close()
        else:
            self._idle[instance].append(peer)
        return response

    async def _connect(self) -> tuple[Address, Peer]:
        """Give a connection to the instance whose turn it is, or to the next one where that refuses it."""
        try:
            return await self._connect_to(self._choose())
        except ConnectionRefusedError:
            self.retries += 1
            return await self._connect_to(self._choose())

    def _choose(self) -> Address:
        instances = list(self._healthy) or list(self._idle)
        return instances[next(self._turns) % len(instances)]

    async def _connect_to(self, instance: Address) -> tuple[Address, Peer]:
        idle = self._idle[instance]
        while idle:
            peer = idle.pop(0)
            if not peer.has_ended:
                return instance, peer
            peer.writer.close()
        try:
            return instance, Peer(*await asyncio.open_connection(*instance))
        except ConnectionRefusedError:
            if instance in self._healthy:
                del self._healthy[instance]
                self._looks.add(asyncio.create_task(self._look(instance)))
            raise

    async def _look(self, instance: Address) -> None:
        """Ask an instance for its health until it is well."""
        answer = b""
        while b" 200 " not in answer[:15]:
            await asyncio.sleep(LOOK)
            if is_open(instance[1]):
                peer = Peer(*await asyncio.open_connection(*instance))
                answer = await peer.ask(b"GET /health HTTP/1.1\r\nHost: balancer\r\n\r\n")
                peer.writer.close()
        self._healthy[instance] = None
