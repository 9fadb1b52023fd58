"""WebRequest, werkzeug's Request made of a parsed head."""

from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug import Request

from rpcservice.web.parser import Head


class WebRequest(Request):
    """A request as werkzeug knows it; its WSGI environment is only built when something of it is looked at.

    Attributes:
        path_values: What the URL rule took from the path.
        exchange: The connection that it came on, where there is one.
    """

    def __init__(
        self,
        head: Head,
        path_values: dict[str, Any],
        body: bytes,
        *,
        peer: tuple[Any, ...] = ("", 0),
        local: tuple[Any, ...] = ("localhost", 80),
        exchange: Any = None,
    ) -> None:
        # Most of what werkzeug's own constructor prepares is never asked for; __getattr__ makes up for it.
        self.head = head
        self.path_values = path_values
        self.exchange = exchange
        self._body = body
        self._peer = peer
        self._local = local

    def __getattr__(self, name: str) -> Any:
        if "environ" in self.__dict__ or "_body" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__init__(self._make_environ(), populate_request=False)
        return getattr(self, name)

    def _make_environ(self) -> dict[str, Any]:
        head = self.head
        environ: dict[str, Any] = {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(head.raw_path).decode("latin-1"),
            "RAW_URI": f"{head.raw_path}?{head.query}" if head.query else head.raw_path,
            "QUERY_STRING": head.query,
            "SERVER_PROTOCOL": "HTTP/1.1" if head.is_http_11 else "HTTP/1.0",
            "SERVER_NAME": str(self._local[0]),
            "SERVER_PORT": str(self._local[1]),
            "REMOTE_ADDR": str(self._peer[0]),
            "REMOTE_PORT": str(self._peer[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(self._body),
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in head.headers.items():
            # A name with an underscore would pass for the one with a hyphen, which a proxy may have checked.
            if "_" not in name:
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        if environ.pop("HTTP_CONTENT_LENGTH", None) is not None or self._body:
            environ["CONTENT_LENGTH"] = str(len(self._body))
        return environ
