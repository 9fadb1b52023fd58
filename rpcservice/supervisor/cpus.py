"""How many processors this process may use."""

import os
from math import ceil
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: microseconds of processor time, and in how many microseconds; "max" is all."""


def usable_cpus(quota: Path = _QUOTA) -> int:
    """Give the number of processors that this process may use, by its affinity and its container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    limit = _limit(quota)
    return count if limit is None else max(1, min(count, limit))


def _limit(quota: Path) -> int | None:
    try:
        allowed, period = quota.read_text().split()
    except (OSError, ValueError):
        return None  # no container, or none of this kind
    return None if allowed == "max" else ceil(int(allowed) / int(period))
