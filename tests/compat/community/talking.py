"""A service with nameko-http and nameko-structlog."""

from nameko_http import api
from nameko_structlog import StructlogDependency


class TalkingService:
    name = "talking"

    log = StructlogDependency()

    @api("GET", "/orders/<int:number>", cors_enabled=True)
    def show(self, request, number):
        self.log.info("shown", number=number)
        return 200, f'{{"number": {number}}}'

    @api("POST", "/orders", expected_exceptions=ValueError)
    def place(self, request):
        raise ValueError("sold out")
