"""python -m django place_order SKU QUANTITY --settings shopsite.settings."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rpcservice import RpcError
from shopsite.clients import cluster


class Command(BaseCommand):
    """Places one order."""

    help = "Place an order."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sku")
        parser.add_argument("quantity", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            placed = cluster.orders.place(options["sku"], options["quantity"])
        except RpcError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{placed['quantity']} x {placed['sku']}: {placed['cents'] / 100:.2f}")
