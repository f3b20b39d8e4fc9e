"""The Celery application. Queues, delivery and schedule are settings (``CELERY_*`` in settings.py)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

logger = logging.getLogger(__name__)

TRAINING_NICENESS = 10

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
# Django's checks would import every page and the API into each worker; `manage.py prepare` runs them before any starts.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("leukoscope")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect  # type: ignore[untyped-decorator]
def begin(**_: object) -> None:
    """Load the models of an analysis worker, then touch the file that the supervisor waits for.

    A model that cannot be loaded stops nothing: the first analysis tries again, and pages say what is wrong.
    A worker for trainings alone has time: it leaves the cores to analyses and pages, loads nothing now, and
    TensorFlow only with the first task that trains.
    """
    if "analysis" in app.amqp.queues.consume_from:
        from django.db import DatabaseError

        from diagnosis.models import ModelVersion
        from diagnosis.services import predictors, registry

        for task in (ModelVersion.Task.FIELD, ModelVersion.Task.CELL):
            try:
                version = registry.active_version(task=task)
                if version is not None:
                    predictors.CACHE.get(version)
            except (predictors.ModelUnavailable, DatabaseError) as problem:
                logger.warning("No %s model is loaded yet: %s", task, problem)
    elif "training" in app.amqp.queues.consume_from:
        os.nice(TRAINING_NICENESS)
    ready_file = os.environ.get("LEUKOSCOPE_READY_FILE")
    if ready_file:
        Path(ready_file).touch()
