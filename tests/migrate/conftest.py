"""Lets the tests of the migration see nameko's names, as the tests of the layer that stands in for it list them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "compat"))
