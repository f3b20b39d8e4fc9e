"""Settings of the tests: the real ones, with everything that is written in a folder of this run's own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Set before the real settings are read; a process that a test starts inherits it and can override it.
if "LEUKOSCOPE_TEST_VAR" not in os.environ:
    os.environ["LEUKOSCOPE_TEST_VAR"] = tempfile.mkdtemp(prefix="leukoscope-tests-")
    atexit.register(shutil.rmtree, os.environ["LEUKOSCOPE_TEST_VAR"], ignore_errors=True)
# Test processes that run beside each other (pytest-xdist) share nothing.
os.environ["LEUKOSCOPE_VAR"] = os.path.join(
    os.environ["LEUKOSCOPE_TEST_VAR"], os.environ.get("PYTEST_XDIST_WORKER", "")
)
# One chain of audit events a database, whichever folder a test gives the processes that write to it.
os.environ.setdefault("LEUKOSCOPE_AUDIT_KEY", "the key of the tests")

from webapp.settings import *  # noqa: F403
from webapp.settings import DATABASES, STATIC_ROOT, STORAGES, VAR_DIR

LEUKOSCOPE_AUDIT_HEAD = None  # every test has a chain of its own, and they share this folder

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of a folder that is not there

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, as in service: what Django takes otherwise lies in memory and locks tables between threads.
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
