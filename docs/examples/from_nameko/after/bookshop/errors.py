"""What can go wrong in the shop."""

from rpcservice import deserialize_to_instance


@deserialize_to_instance
class SoldOut(Exception):
    """No copy is left."""
