"""nameko's client for RabbitMQ's management API."""

from rpcservice.testing.management import ManagementApi, ManagementError

__all__ = (
    "Client",
    "HTTPError",
)

try:
    from requests import HTTPError as _RequestsError
except ImportError:

    class HTTPError(ManagementError):
        """Raised when the management API refuses a request."""

else:

    class HTTPError(ManagementError, _RequestsError):  # type: ignore[misc,no-redef]  # nameko's is that of requests
        """Raised when the management API refuses a request."""


class Client(ManagementApi):
    """Looks into a RabbitMQ server over the HTTP API of its management plugin.

    Args:
        uri: Where the API is, with user and password.
    """

    error_cls = HTTPError
