"""An application error that nameko and we know by the same path."""


class OutOfStock(Exception):
    """There is not as much as somebody wants."""
