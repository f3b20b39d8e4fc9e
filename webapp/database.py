"""From ``DATABASE_URL`` to Django's ``DATABASES`` entry: SQLite (embedded) or PostgreSQL (the clinic's)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from webapp.env import EnvironmentProblem

# WAL lets readers go on while the worker writes; NORMAL is the durable pairing for it. IMMEDIATE takes the
# write lock when a transaction begins, so that two writers wait for each other instead of failing on the
# upgrade.
SQLITE_OPTIONS: dict[str, Any] = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": (
        "PRAGMA journal_mode=WAL;"
        "PRAGMA synchronous=NORMAL;"
        "PRAGMA journal_size_limit=67108864;"
        "PRAGMA cache_size=-16000;"
        "PRAGMA temp_store=MEMORY;"
    ),
}


def sqlite_database(path: Path) -> dict[str, Any]:
    """Return the entry for an SQLite file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": dict(SQLITE_OPTIONS)}


def parse_database_url(url: str) -> dict[str, Any]:
    """Return Django's database entry for ``url``.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and
    ``postgresql://user:password@host:port/name?sslmode=require`` are understood; user, password and name may
    be percent-encoded, a host that is a percent-encoded or ``?host=`` path means a Unix socket, and every
    further query parameter goes to libpq. Raises EnvironmentProblem for anything else, without repeating the
    password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise EnvironmentProblem("DATABASE_URL is not a valid address (is the port a number?).") from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme in {"sqlite", "sqlite3"}:
        name = unquote(parts.path)[1:]
        if not name or parts.netloc:
            raise EnvironmentProblem(
                "DATABASE_URL for SQLite must look like sqlite:////folder/leukoscope.sqlite3."
            )
        return sqlite_database(Path(name).absolute())
    if parts.scheme not in {"postgres", "postgresql"}:
        raise EnvironmentProblem(
            f"DATABASE_URL must begin with sqlite:// or postgresql://, not {parts.scheme or 'nothing'}://."
        )
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise EnvironmentProblem("DATABASE_URL names no database: postgresql://user:password@host:port/NAME.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(port or query.pop("port", "") or ""),
        # A worker process and each sync web worker keep one connection; a stale one is noticed and replaced.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": query,
    }
