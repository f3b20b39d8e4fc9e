"""What a process tells that has just started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def fresh_process(code: str) -> Any:
    """What a fresh process prints last, as JSON, with the settings of a web process or a worker."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])
