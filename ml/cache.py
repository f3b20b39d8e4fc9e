"""Where work that can be made again lies: checkpoints, decoded images, signatures. Never inside the work tree."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """LEUKOSCOPE_CACHE, or `~/.cache/leukoscope`; whoever writes there makes the folder."""
    return Path(os.environ.get("LEUKOSCOPE_CACHE") or Path.home() / ".cache" / "leukoscope")
