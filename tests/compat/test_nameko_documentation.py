"""The examples of nameko's documentation work as they are; nameko's own tests of them say so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nameko_documentation import nameko_documentation

from rpcservice.testing import RabbitMQNode

# Amazon is not here; and one example was written for another nameko-sqlalchemy than the last one.
LEFT_OUT = ("-k", "not Sqs", "--ignore", "examples/testing/alternative_dependency_unit_test.py")


@pytest.mark.broker
@pytest.mark.interop
@pytest.mark.parametrize(("version", "at_least"), [(2, 36), (3, 34)])
def test_the_examples_work(version: int, at_least: int, managed_rabbitmq: RabbitMQNode, tmp_path: Path) -> None:
    """HTTP, RPC, events, websockets, authentication, testing ...: unedited, of 2.14 and of 3.0."""
    documentation, needed = nameko_documentation(version)
    folder = shutil.copytree(documentation, tmp_path / "docs")
    (folder / "pytest.ini").write_text("[pytest]\npython_files = *test*.py\n")
    brokers = ["--amqp-uri", managed_rabbitmq.uri, "--rabbit-api-uri", managed_rabbitmq.api_uri]
    done = subprocess.run(
        [sys.executable, "-m", "rpcservice", "test", "--nameko", "examples", "-q", *LEFT_OUT, *brokers],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(needed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stdout
    assert passed is not None
    assert int(passed[1]) >= at_least
