"""The floor of HTTP: eventlet.wsgi with an application that greets and does nothing else; no access log."""

import os

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402


def greet(environ, start_response):
    name = environ["PATH_INFO"].removeprefix("/hello/")
    body = f"Hello, {name}!".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


wsgi.server(eventlet.listen(("127.0.0.1", int(os.environ["BENCH_WEB_PORT"]))), greet, log_output=False)
