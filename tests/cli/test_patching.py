"""What is patched for services, and what is left to be imported by those who use it."""

import json

import pytest
from command_process import run_python

PATCH = "from rpcservice.cli.patching import patch\npatch()\n"


def loaded_by(code: str) -> set[str]:
    """Give the modules that are loaded in a new process when code has run."""
    return set(json.loads(run_python(f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")))


def test_sockets_threads_and_waits_are_patched() -> None:
    """Everything that eventlet patches by itself, but for drivers of databases."""
    code = (
        f"{PATCH}from eventlet.patcher import is_monkey_patched\n"
        "names = ('os', 'select', 'socket', 'thread', 'time', 'subprocess')\n"
        "print([name for name in names if not is_monkey_patched(name)])"
    )
    assert run_python(code) == "[]\n"


def test_names_are_looked_up_beside_the_loop_without_eventlets_resolver() -> None:
    code = (
        f"{PATCH}import eventlet.green.socket, socket\n"
        "functions = {module.gethostbyname for module in (socket, eventlet.green.socket)}\n"
        "assert [one.__code__.co_filename.endswith('resolver.py') for one in functions] == [True]\n"
        "with socket.create_server(('localhost', 0)) as server:\n"
        "    socket.create_connection(('localhost', server.getsockname()[1])).close()"
    )
    assert "dns" not in loaded_by(code)


@pytest.mark.parametrize("choice", ["no", "yes"])
def test_who_chooses_eventlets_resolver_or_none_gets_it(choice: str) -> None:
    code = (
        f"import os\nos.environ['EVENTLET_NO_GREENDNS'] = {choice!r}\n{PATCH}"
        "import socket\nprint(socket.gethostbyname.__module__, os.environ['EVENTLET_NO_GREENDNS'])"
    )
    expected = {"no": "eventlet.support.greendns", "yes": "_socket"}[choice]
    assert run_python(code) == f"{expected} {choice}\n"


def test_the_environment_is_left_as_it_was() -> None:
    code = f"import os\nbefore = dict(os.environ)\n{PATCH}print(os.environ == before)"
    assert run_python(code) == "True\n"


def test_what_imports_eventlet_first_keeps_its_resolver() -> None:
    code = f"import eventlet\n{PATCH}import socket\nprint(socket.gethostbyname.__module__)"
    assert run_python(code, "-W", "ignore") == "eventlet.support.greendns\n"


PSYCOPG = (
    "from eventlet.patcher import is_monkey_patched\nimport psycopg2.extensions\n"
    "print(is_monkey_patched('psycopg'), psycopg2.extensions.get_wait_callback().__name__, psycopg2.apilevel)"
)


PROBE = f"{PATCH}from importlib.util import find_spec\nassert find_spec('psycopg2') and find_spec('psycopg2')\n"


@pytest.mark.parametrize("before", ["", "import psycopg2\n", PATCH], ids=["later", "before", "twice"])
def test_psycopg_waits_as_greenlets_do(before: str) -> None:
    assert run_python(f"{before}{PATCH}{PSYCOPG}") == "True eventlet_wait_callback 2.0\n"


def test_psycopg_waits_as_greenlets_do_after_a_look_for_it() -> None:
    assert run_python(f"{PROBE}{PSYCOPG}") == "True eventlet_wait_callback 2.0\n"


def test_nothing_is_left_where_modules_are_found_once_psycopg_waits() -> None:
    code = "import sys\nprint([one for one in sys.meta_path if type(one).__name__ == '_Psycopg'])"
    assert run_python(f"{PROBE}import psycopg2\n{code}") == "[]\n"


def test_psycopg_is_imported_by_those_who_use_it() -> None:
    assert "psycopg2" not in loaded_by(PATCH)


def test_a_missing_psycopg_is_missing_as_ever() -> None:
    code = (
        f"{PATCH}import sys\nsys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        "try:\n    import psycopg2\nexcept ModuleNotFoundError as exc:\n    print(exc)"
    )
    assert run_python(code) == "No module named 'psycopg2'\n"
