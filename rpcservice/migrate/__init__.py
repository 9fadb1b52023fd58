"""Rewrites code that imports nameko to our own names. The tables in ``rpcservice.migrate.names`` need no libcst."""
