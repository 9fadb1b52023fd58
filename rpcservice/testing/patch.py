"""Patches the standard library for eventlet when it is imported: ``pytest -p rpcservice.testing.patch``.

pytest loads what ``-p`` names before it collects anything, so that no test module sees an unpatched socket.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

eventlet.monkey_patch()
