"""Where a running Leukoscope keeps its files, and the secrets it makes for itself. No Django needed."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from webapp.env import Env

BASE_DIR = Path(__file__).resolve().parent.parent

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
LONGEST_SOCKET_PATH = 100


def var_dir(env: Env) -> Path:
    """Return the folder for everything the application writes (``LEUKOSCOPE_VAR``, else ``var``)."""
    return env.path("LEUKOSCOPE_VAR", BASE_DIR / "var")


def broker_socket(var: Path) -> Path:
    """Return the Unix socket of the embedded broker.

    It lies in ``var/run``; when that path is too long for a socket, in a private folder under the system's
    temporary one whose name is derived from ``var``, so that every process finds the same place.
    """
    wanted = var / "run" / "broker.sock"
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH:
        return wanted
    key = hashlib.sha256(os.fsencode(var)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"leukoscope-{os.getuid()}-{key}" / "broker.sock"


def broker_url(env: Env) -> str:
    """Return the address of the broker: ``REDIS_URL``, else the embedded one's socket."""
    return env.secret("REDIS_URL") or f"redis+socket://{broker_socket(var_dir(env))}"


def stored_secret(var: Path, name: str) -> str:
    """Return the secret kept in ``var/name``, made on first use and readable by its owner alone."""
    path = var / name
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    var.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: of several processes that start at once, one wins and none reads
    # half a key.
    handle, made = tempfile.mkstemp(dir=var, prefix=f"{name}.")
    aside = Path(made)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
    finally:
        aside.unlink()
    return path.read_text(encoding="ascii").strip()


def stored_secret_key(var: Path) -> str:
    """Return the key that signs sessions, kept in ``var/secret_key``."""
    return stored_secret(var, "secret_key")
