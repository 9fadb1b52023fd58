"""Patches the standard library for eventlet when it is imported: ``pytest -p rpcservice.testing.patch``.

pytest loads what ``-p`` names before it collects anything, so that no test module sees an unpatched socket.
"""

from rpcservice.cli.patching import patch

patch()
