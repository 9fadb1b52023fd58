"""A provider of our own: the stock, with what a call took put back when the call fails."""

import threading

from nameko.extensions import DependencyProvider

from bookshop.errors import SoldOut


class Shelf:
    """What one call takes from the stock."""

    def __init__(self, copies, lock):
        self.copies = copies
        self.lock = lock
        self.taken = []

    def take(self, title):
        """Take one copy."""
        with self.lock:
            if not self.copies.get(title):
                raise SoldOut(title)
            self.copies[title] -= 1
            self.taken.append(title)

    def put_back(self):
        """Undo what this call did."""
        with self.lock:
            for title in self.taken:
                self.copies[title] += 1


class Stock(DependencyProvider):
    """Injects a shelf into each worker."""

    def setup(self):
        self.copies = dict(self.container.config["BOOKS"])
        self.lock = threading.Lock()

    def get_dependency(self, worker_ctx):
        return Shelf(self.copies, self.lock)

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        if exc_info is not None:
            getattr(worker_ctx.service, self.attr_name).put_back()
