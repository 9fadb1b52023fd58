"""Rewrites code that imports nameko to our own names. Only ``rpcservice.migrate.names`` works without libcst."""
