"""A real client, the package websockets, in a process of its own: carries out requests, prints what comes.

Called with a URL and ``compressed`` or ``plain``. Each line of the standard input is a frame to send, or ``null`` to
close. Each line of the output is {"frame": ...}, and at the end {"code": ..., "extensions": [...]}.
"""

import json
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


def send_all(socket: ClientConnection) -> None:
    """Send what is asked for."""
    for line in sys.stdin:
        frame = json.loads(line)
        if frame is None:
            socket.close()
            return
        socket.send(json.dumps(frame))


def main(url: str, compression: str) -> None:
    """Print frames until the websocket is closed."""
    socket = connect(url, compression="deflate" if compression == "compressed" else None)
    threading.Thread(target=send_all, args=(socket,), daemon=True).start()
    try:
        while True:
            print(json.dumps({"frame": json.loads(socket.recv())}), flush=True)
    except ConnectionClosed as exc:
        code = exc.rcvd.code if exc.rcvd is not None else 1006
        extensions = [extension.name for extension in socket.protocol.extensions]
        print(json.dumps({"code": code, "extensions": extensions}), flush=True)


main(*sys.argv[1:])
