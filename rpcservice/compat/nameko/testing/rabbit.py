"""nameko's client for RabbitMQ's management API."""

from rpcservice.testing.management import ManagementApi, ManagementError

__all__ = ["Client", "HTTPError"]

Client = ManagementApi
HTTPError = ManagementError
