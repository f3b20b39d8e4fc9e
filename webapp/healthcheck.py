"""``python -m webapp.healthcheck``: exit status 0 when the web server on this machine is healthy, else 1."""

from __future__ import annotations

from webapp.env import Env
from webapp.serve import web_answers


def main() -> None:
    """Ask the health check at PORT on this machine."""
    raise SystemExit(0 if web_answers("127.0.0.1", Env().integer("PORT", 8000)) else 1)


if __name__ == "__main__":
    main()
