"""nameko's small helpers."""

from pydoc import locate
from typing import Any


def import_from_path(path: str | None) -> Any:
    """Give the object that a dotted path names; None for None.

    Raises:
        ImportError: There is none.
    """
    if path is None:
        return None
    found = locate(path)
    if found is None:
        raise ImportError(f"`{path}` could not be imported")
    return found
