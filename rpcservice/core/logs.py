"""Which call a log line belongs to."""

import logging

from rpcservice.core.context import current_worker


class WorkerFilter(logging.Filter):
    """Gives every record ``service``, ``method`` and ``call_id``: those of the worker that wrote it, else "-"."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the three attributes and let the record pass."""
        ctx = current_worker.get()
        if ctx is None:
            record.service = record.method = record.call_id = "-"
        else:
            record.service = ctx.service_name
            record.method = ctx.entrypoint.method_name
            record.call_id = ctx.call_id
        return True
