"""Names that nameko has and this package does not: the import fails with a word on what to use."""

from collections.abc import Callable, Mapping
from typing import NoReturn


def missing_names(module: str, mends: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """Give a module-level ``__getattr__``.

    Args:
        module: The module's own name.
        mends: For each missing name what to use instead.
    """
    known_as = f"nameko{module.removeprefix('rpcservice.compat.nameko')}"

    def __getattr__(name: str) -> NoReturn:
        mend = mends.get(name)
        if mend is None:
            raise AttributeError(f"module {known_as!r} has no attribute {name!r}")
        raise ImportError(f"{known_as}.{name} has no counterpart in rpcservice; {mend}", name=name)

    return __getattr__
