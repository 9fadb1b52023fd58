"""A service with both providers of nameko-sqlalchemy and its decorator."""

from nameko.rpc import rpc
from nameko_sqlalchemy import Database, DatabaseSession, transaction_retry
from sqlalchemy import Column, Integer, String
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Item(Base):
    __tablename__ = "items"

    id = Column(Integer, primary_key=True)
    sku = Column(String, nullable=False)


_failures = []


class StoringService:
    name = "storing"

    db = Database(Base)
    session = DatabaseSession(Base)

    @rpc
    def create(self):
        Base.metadata.create_all(self.db.session.get_bind())

    @rpc
    def add(self, sku):
        with self.db.get_session() as session:
            session.add(Item(sku=sku))

    @rpc
    def add_then_fail(self, sku):
        with self.db.get_session() as session:
            session.add(Item(sku=sku))
            raise ValueError("rolled back")

    @rpc
    @transaction_retry
    def count(self):
        if not _failures:
            _failures.append(True)
            raise OperationalError("select", {}, Exception("connection lost"), connection_invalidated=True)
        return self.session.query(Item).count()
