"""A service with nameko-sentry."""

from nameko.rpc import rpc
from nameko.web.handlers import http
from nameko_sentry import SentryReporter


class ReportingService:
    name = "reporting"

    sentry = SentryReporter()

    @rpc(expected_exceptions=KeyError)
    def fail(self, what):
        raise {"expected": KeyError, "unexpected": ValueError}[what](f"{what} failure")

    @rpc
    def succeed(self):
        return type(self.sentry).__name__

    @http("GET", "/fail")
    def fail_on_the_web(self, request):
        raise RuntimeError("failed on the web")
