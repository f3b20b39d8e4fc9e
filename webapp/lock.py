"""``python -m webapp.lock``: writes constraints.txt, the exact versions of everything below requirements.txt.

pip resolves on paper (nothing is installed); run it with the oldest Python that is supported, since what that
one can install the newer ones can too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from webapp.places import BASE_DIR

HEADER = """\
# The lock: exact versions of everything below requirements.txt. One list serves Python 3.11 to 3.13 on Linux
# (x86_64, aarch64) and macOS. `make lock` writes it anew, with Python 3.11: all three can install its
# versions.
"""


def locked_lines(report: dict[str, Any]) -> list[str]:
    """Return sorted ``name==version`` lines from pip's report; local version labels are dropped."""
    pins = {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"].split("+")[0]
        for item in report["install"]
    }
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def main() -> None:
    """Resolve requirements.txt and write constraints.txt beside it."""
    requirements: Path = BASE_DIR / "requirements.txt"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--report", "-", "--requirement", str(requirements)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = locked_lines(json.loads(result.stdout))
    (BASE_DIR / "constraints.txt").write_text(
        HEADER + "".join(f"{line}\n" for line in lines), encoding="ascii"
    )


if __name__ == "__main__":
    main()
