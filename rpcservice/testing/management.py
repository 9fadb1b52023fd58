"""ManagementApi, a client for the HTTP API of RabbitMQ's management plugin."""

import base64
import http.client
import json
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from rpcservice.errors import BrokerUnavailable, RpcServiceError

_TIMEOUT = 30


class ManagementResponse:
    """What the API answered to a request that failed.

    Attributes:
        status_code: The HTTP status.
        text: The body.
    """

    def __init__(self, status_code: int, text: str) -> None:
        self.status_code = status_code
        self.text = text


class ManagementError(RpcServiceError):
    """Raised when the management API refuses a request.

    Attributes:
        response: What it answered, with ``status_code`` and ``text``.
    """

    def __init__(self, request: str, response: ManagementResponse) -> None:
        super().__init__(f"{request} was answered with {response.status_code}: {response.text}")
        self.response = response


class ManagementApi:
    """Looks into a RabbitMQ server, and changes it, over the HTTP API of its management plugin.

    Args:
        uri: Where the API is, with user and password: ``http://guest:guest@localhost:15672``.

    Raises:
        BrokerUnavailable: Nothing answers there.
        ManagementError: The user or the password is wrong.
    """

    error_cls: type[ManagementError] = ManagementError

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (15671 if self._is_secure else 15672)
        self._root = f"{parts.path.rstrip('/')}/api"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}",
            "Content-Type": "application/json",
        }
        self.get("overview")

    def get(self, *path: str) -> Any:
        """Give what is at a path, whose parts are given one by one."""
        return self._request("GET", path)

    def put(self, *path: str, data: object = None) -> Any:
        """Put something there."""
        return self._request("PUT", path, data)

    def post(self, *path: str, data: object = None) -> Any:
        """Post something there."""
        return self._request("POST", path, data)

    def delete(self, *path: str) -> Any:
        """Delete what is there."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: tuple[str, ...], data: object = None) -> Any:
        target = "/".join([self._root, *(quote(part, safe="") for part in path)])
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_TIMEOUT)
        try:
            # RabbitMQ wants a JSON object with every PUT and POST.
            body = None if method in ("GET", "DELETE") else json.dumps({} if data is None else data)
            connection.request(method, target, body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise BrokerUnavailable(
                f"RabbitMQ's management API does not answer at {self._host}:{self._port} ({exc}); is it enabled? "
                "rabbitmq-plugins enable rabbitmq_management"
            ) from exc
        finally:
            connection.close()
        if response.status >= 400:
            refused = ManagementResponse(response.status, content.decode(errors="replace"))
            raise self.error_cls(f"{method} {target}", refused)
        return json.loads(content) if content else None

    def get_connections(self, vhost: str | None = None) -> list[dict[str, Any]]:
        """Give the open connections, of one virtual host or of all; the server tells of them every few seconds."""
        found: list[dict[str, Any]] = self.get("connections") or []
        return found if vhost is None else [one for one in found if one.get("vhost") == vhost]

    def delete_connection(self, name: str) -> None:
        """Have the server close a connection."""
        self.delete("connections", name)

    def get_exchanges(self, vhost: str) -> Any:
        """Give the exchanges of a virtual host."""
        return self.get("exchanges", vhost)

    def get_all_vhosts(self) -> Any:
        """Give the virtual hosts."""
        return self.get("vhosts")

    def create_vhost(self, vhost: str) -> Any:
        """Make a virtual host."""
        return self.put("vhosts", vhost)

    def delete_vhost(self, vhost: str) -> Any:
        """Delete a virtual host, with all that is in it."""
        return self.delete("vhosts", vhost)

    def set_vhost_permissions(self, vhost: str, username: str, configure: str, read: str, write: str) -> Any:
        """Say by patterns what a user may do in a virtual host."""
        rights = {"configure": configure, "read": read, "write": write}
        return self.put("permissions", vhost, username, data=rights)

    def get_queues(self, vhost: str) -> Any:
        """Give the queues of a virtual host."""
        return self.get("queues", vhost)

    def get_queue(self, vhost: str, name: str) -> Any:
        """Give one queue."""
        return self.get("queues", vhost, name)

    def create_queue(self, vhost: str, name: str, **properties: Any) -> Any:
        """Make a queue."""
        return self.put("queues", vhost, name, data=properties)

    def get_queue_bindings(self, vhost: str, name: str) -> Any:
        """Give the bindings of a queue."""
        return self.get("queues", vhost, name, "bindings")

    def create_queue_binding(self, vhost: str, exchange: str, queue: str, routing_key: str) -> Any:
        """Bind a queue to an exchange."""
        return self.post("bindings", vhost, "e", exchange, "q", queue, data={"routing_key": routing_key})

    def publish(
        self, vhost: str, name: str, routing_key: str, payload: str, properties: dict[str, Any] | None = None
    ) -> Any:
        """Publish a text to an exchange."""
        message = {"routing_key": routing_key, "payload": payload, "payload_encoding": "string"}
        return self.post("exchanges", vhost, name, "publish", data={**message, "properties": properties or {}})

    def get_messages(self, vhost: str, name: str, count: int = 1, requeue: bool = False) -> Any:
        """Take messages off a queue; put back at once with ``requeue``."""
        mode = "ack_requeue_true" if requeue else "ack_requeue_false"
        asked = {"count": count, "encoding": "auto", "requeue": requeue, "ackmode": mode}
        return self.post("queues", vhost, name, "get", data=asked)
