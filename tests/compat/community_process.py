"""Runs the services of tests/compat/community, which import nameko and its extensions, as the command line does."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_process import Running

SERVICES = Path(__file__).parent / "community"


@contextmanager
def run_service(path: str, module: str, config: dict[str, Any], folder: Path) -> Iterator[Running]:
    """Run a module's services by ``rpcservice run --nameko``.

    Args:
        path: The folder with the extensions.
        module: A module of ``community``.
        config: nameko's configuration.
        folder: Where the file with the configuration goes.
    """
    file = folder / "config.yaml"
    file.write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "rpcservice", "run", "--nameko", "--config", str(file), module]
    running = Running(command, cwd=SERVICES, env=environment)
    try:
        yield running
        running.process.terminate()
        assert running.wait() == 0, running.err
    finally:
        running.process.kill()
        running.wait()
