"""Ids and contexts of calls."""

import os
import subprocess
import sys
import uuid

from rpcservice.core.context import new_id
from rpcservice.testing import FakeHost


def test_ids_are_random_uuids() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    parsed = [uuid.UUID(text) for text in ids]
    assert [str(one) for one in parsed] == ids
    assert {(one.version, one.variant) for one in parsed} == {(4, uuid.RFC_4122)}


FORKING = """
import os
from rpcservice.core.context import new_id
new_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*[new_id() for _ in range(100)], flush=True)
"""


def test_a_forked_process_has_ids_of_its_own() -> None:
    # In a process of its own: eventlet, which this one may have imported, warns of every fork.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    output = subprocess.run(
        [sys.executable, "-c", FORKING], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    ids = output.stdout.split()
    assert (len(ids), len(set(ids))) == (200, 200)


def test_a_call_id_names_service_and_method(host: FakeHost) -> None:
    ctx = host.context()
    service, method, identifier = ctx.call_id.split(".")
    assert (service, method) == ("service", "method")
    assert str(uuid.UUID(identifier)) == identifier


def test_a_first_call_has_no_parent(host: FakeHost) -> None:
    ctx = host.context()
    assert (ctx.call_id_stack, ctx.origin_call_id, ctx.immediate_parent_call_id) == ([ctx.call_id], ctx.call_id, None)


def test_the_context_data_that_came_is_not_changed(host: FakeHost) -> None:
    came = {"call_id_stack": ["a.b.c"], "language": "de"}
    ctx = host.context(context_data=came)
    ctx.context_data["user_id"] = 1
    assert came == {"call_id_stack": ["a.b.c"], "language": "de"}
    assert ctx.data == {"language": "de", "user_id": 1}


def test_a_call_stack_that_is_no_list_is_dropped(host: FakeHost) -> None:
    ctx = host.context(context_data={"call_id_stack": "nonsense"})
    assert ctx.call_id_stack == [ctx.call_id]


def test_a_context_shows_its_call_id(host: FakeHost) -> None:
    ctx = host.context()
    assert repr(ctx) == f"<WorkerContext [{ctx.call_id}]>"
