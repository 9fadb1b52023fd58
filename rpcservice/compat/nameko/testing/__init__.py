"""nameko's helpers for tests."""

__all__ = ()
