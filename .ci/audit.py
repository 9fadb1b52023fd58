"""Looks for known vulnerabilities of what is installed: ``python .ci/audit.py PATH_OF_PIP_AUDIT``.

pip-audit says that there are none also where it could ask nobody; here that is a failure, for nothing is known then.
"""

import json
import subprocess
import sys
from typing import Any

FOUND, UNKNOWN = 1, 2


def main(command: str) -> int:
    """Audit; gives the exit code: 0 where all is well, 1 with vulnerabilities, 2 where that cannot be said."""
    done = subprocess.run(
        [command, "--skip-editable", "--progress-spinner", "off", "--format", "json"], capture_output=True, text=True
    )
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _fail_to_know("pip-audit did not come to an end: " + "".join(done.stderr.splitlines()[-1:]))
    vulnerable = [one for one in dependencies if one.get("vulns")]
    for one in vulnerable:
        for found in one["vulns"]:
            mend = f"update to {' or '.join(found['fix_versions'])}" if found["fix_versions"] else "there is no fix yet"
            print(f"{one['name']} {one['version']}: {found['id']}; {mend}", file=sys.stderr)
    if vulnerable:
        return FOUND
    # What is installed from a folder, as this project is, has no advisories.
    reasons = [one["skip_reason"] for one in dependencies if "editable" not in one.get("skip_reason", "editable")]
    if reasons:
        return _fail_to_know(f"{len(reasons)} of {len(dependencies)} packages could not be looked up: {reasons[0]}")
    print(f"No known vulnerabilities in {len(dependencies)} packages.")
    return 0


def _fail_to_know(why: str) -> int:
    print(f"The audit tells nothing: {why}\nIt asks https://pypi.org; can it be reached from here?", file=sys.stderr)
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
