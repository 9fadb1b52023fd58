"""The base of every exception that rpcservice raises."""


class RpcServiceError(Exception):
    """Base of every exception of this package."""
