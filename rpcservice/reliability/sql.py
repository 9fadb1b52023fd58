"""SQLAlchemy, for the modules of this package that need it; where it is missing, the error that says how to get it."""

from rpcservice.errors import MissingExtra

try:
    import sqlalchemy as sqlalchemy
    from sqlalchemy import event as event
    from sqlalchemy.dialects import postgresql as postgresql
    from sqlalchemy.dialects import sqlite as sqlite
    from sqlalchemy.engine import make_url as make_url
    from sqlalchemy.exc import SQLAlchemyError as SQLAlchemyError
    from sqlalchemy.orm import Session as Session
except ImportError as exc:
    raise MissingExtra(
        'databases, and idempotency_store in one, need SQLAlchemy; install it with: pip install "rpcservice[sql]"'
    ) from exc
