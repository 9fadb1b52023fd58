"""The supervisor stays small, and nothing in its process is patched."""

import subprocess
import sys


def test_a_supervisor_loads_neither_eventlet_nor_what_services_stand_on() -> None:
    program = (
        "import sys, rpcservice.cli.workers, rpcservice.cli.logs, rpcservice.supervisor.supervisor, rpcservice.config\n"
        "print(sorted({'eventlet', 'kombu', 'amqp', 'werkzeug', 'rpcservice.core.runner'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
