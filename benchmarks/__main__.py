"""``python -m benchmarks``: the same as ``make bench``."""

import sys

from benchmarks.run import main

sys.exit(main())
