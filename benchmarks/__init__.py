"""Benchmarks of rpcservice against its peers; run them with ``python -m benchmarks``."""
