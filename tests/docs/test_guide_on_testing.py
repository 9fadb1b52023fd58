"""The tests that docs/testing.rst shows are tests that pass."""

from pathlib import Path

import pytest
from documents import ROOT, blocks


def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    """All of its blocks as one module, run as its reader would run it."""
    page = ROOT / "docs" / "testing.rst"
    shown = [block.text for block in blocks(page, "python")]
    module: Path = pytester.makepyfile(test_orders="\n".join(shown))
    result = pytester.runpytest_subprocess(module)
    result.assert_outcomes(passed=3)
