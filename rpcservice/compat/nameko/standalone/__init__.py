"""nameko's clients for programs that are no services."""

__all__ = ()
