"""What a worker loads before its first task: its tasks, and no page."""

from __future__ import annotations

from tests.webapp.fresh import fresh_process

CODE = """
import json, sys
from webapp.celery import app
app.loader.import_default_modules()  # as a worker does, and with it whatever Celery does for Django
print(json.dumps(sorted(sys.modules)))
"""


def test_it_loads_tasks_and_no_pages() -> None:
    loaded = set(fresh_process(CODE))
    assert {"diagnosis.tasks", "diagnosis.models"} <= loaded
    assert loaded.isdisjoint({"diagnosis.urls", "diagnosis.views", "diagnosis.api", "ninja", "allauth.urls"})
