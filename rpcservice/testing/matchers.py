"""Objects that equal others, for the assertions of mocks."""

from functools import partial


class AnyInstanceOf:
    """Equals every instance of a class: ``mock.assert_called_once_with(AnyInstanceOf(Order))``.

    Args:
        cls: The class.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __eq__(self, other: object) -> bool:
        return isinstance(self.cls, type) and isinstance(other, self.cls)

    def __hash__(self) -> int:
        return hash((AnyInstanceOf, self.cls))

    def __repr__(self) -> str:
        return f"<AnyInstanceOf-{getattr(self.cls, '__name__', self.cls)}>"


ANY_PARTIAL = AnyInstanceOf(partial)
"""Equals every ``functools.partial``."""
