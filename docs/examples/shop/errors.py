"""What can be wrong with an order.

Each class has a stable ``code``, so that it comes back to RPC callers as itself, and an ``http_status``, so that the
client of an HTTP method that lets it pass sees that status and the text.
"""

from rpcservice import deserialize_to_instance


@deserialize_to_instance(code="shop.unknown_product")
class UnknownProduct(Exception):
    """Raised when the shop does not sell what was asked for."""

    http_status = 400


@deserialize_to_instance(code="shop.out_of_stock")
class OutOfStock(Exception):
    """Raised when more was asked for than is there."""

    http_status = 409


class InvalidOrder(Exception):
    """Raised when what a client sent is no order."""

    http_status = 400
