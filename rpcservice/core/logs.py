"""Which call, and which of several processes, a log line belongs to."""

import logging
import os

from rpcservice.core.context import current_worker
from rpcservice.core.process import NUMBER_VARIABLE


class WorkerFilter(logging.Filter):
    """Gives every record ``service``, ``method`` and ``call_id``: those of the worker that wrote it, else "-".

    And ``worker``, the number of this process among those of ``rpcservice run --workers``, else "-".
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = os.environ.get(NUMBER_VARIABLE, "-")

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the four attributes and let the record pass."""
        record.worker = self._number
        ctx = current_worker.get()
        if ctx is None:
            record.service = record.method = record.call_id = "-"
        else:
            record.service = ctx.service_name
            record.method = ctx.entrypoint.method_name
            record.call_id = ctx.call_id
        return True
