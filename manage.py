#!/usr/bin/env python3
"""Leukoscope's command line: ``python manage.py help`` lists what it can do."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command with the settings named by the environment."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed for this Python: run `make` targets, or use .venv/bin/python manage.py."
        ) from error
    # `benchmark-models` is `benchmark_models`: people write a hyphen, and no module can bear one.
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = sys.argv[1].replace("-", "_")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
