"""Listens with TLS, says on which port, and what clients send to it once they have taken its certificate."""

import socket
import ssl
import sys


def main(cert: str, key: str) -> None:
    """Print ``listening PORT``, then a line for each client: ``refused`` or ``sent`` with its first bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("listening", listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            client.settimeout(10)
            try:
                with context.wrap_socket(client, server_side=True) as trusted:
                    print("sent", trusted.recv(100), flush=True)
            except OSError as exc:
                print("refused", exc, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
