"""The tests that docs/testing.rst shows are tests that pass."""

import inspect
import re
from pathlib import Path

import pytest
from documents import ROOT, blocks

from rpcservice.testing import factories, plugin


def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    """All of its blocks as one module, run as its reader would run it."""
    page = ROOT / "docs" / "testing.rst"
    shown = [block.text for block in blocks(page, "python")]
    module: Path = pytester.makepyfile(test_orders="\n".join(shown))
    result = pytester.runpytest_subprocess(module)
    result.assert_outcomes(passed=3)


def test_the_guide_lists_the_fixtures() -> None:
    """All that the plugin offers, and nothing else."""
    page = (ROOT / "docs" / "testing.rst").read_text()
    table = page.split("needs neither a server nor patching", 1)[1].split("entrypoint_hook(container", 1)[0]
    source = inspect.getsource(plugin) + inspect.getsource(factories)
    offered = re.findall(r"^@pytest\.fixture.*\ndef ([a-z]\w+)\(", source, re.MULTILINE)
    assert sorted(re.findall(r"^``(\w+)``  ", table, re.MULTILINE)) == sorted(offered)
