"""nameko's web entrypoints."""
