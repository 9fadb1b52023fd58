"""nameko's helpers for tests."""
