"""Rewrites text, and not bytes, for the tests."""

from rpcservice.migrate.imports import parse, rewrite


def rewritten(text: str) -> str:
    """Give a module's text as it is once it is rewritten."""
    return rewrite(parse(text.encode())).decode()
