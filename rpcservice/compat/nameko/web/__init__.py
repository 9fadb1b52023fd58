"""nameko's web entrypoints."""

__all__ = ()
