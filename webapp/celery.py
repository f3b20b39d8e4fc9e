"""The Celery application. Queues, delivery and schedule are settings (``CELERY_*`` in settings.py)."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("leukoscope")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect  # type: ignore[untyped-decorator]
def tell_supervisor(**_: object) -> None:
    """Touch the file that the supervisor waits for, once the worker really takes tasks."""
    ready_file = os.environ.get("LEUKOSCOPE_READY_FILE")
    if ready_file:
        Path(ready_file).touch()
