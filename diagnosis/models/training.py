"""A training: one run of `manage.py retrain`, from its start to a candidate bundle, a stop or a failure."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from diagnosis.models.laboratory import Laboratory, Site
from diagnosis.models.model_version import ModelVersion


class Training(models.Model):
    """`progress` is what pages draw: {stage, fidelity, done, total, loss, metric, metric_name, seconds_left,
    trials: [{number, state, value, fidelity, settings}], history: {name: [per epoch]}}, any of them absent.

    While it runs, its process renews `beat_at`; a running training whose beat is old belongs to a dead process.
    """

    class State(models.TextChoices):
        RUNNING = "running", "running"
        DONE = "done", "done"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.CharField(max_length=10, choices=ModelVersion.Task.choices)
    name = models.CharField(max_length=80, help_text="Of the bundle to come.")
    laboratory = models.ForeignKey(
        Laboratory, on_delete=models.PROTECT, null=True, blank=True, related_name="trainings"
    )
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True, related_name="trainings")
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="trainings"
    )
    options = models.JSONField(default=dict, help_text="As given on the command line.")
    data = models.JSONField(default=dict, help_text="Names, counts and split of the images; no paths.")
    work = models.CharField(max_length=500, help_text="Folder of checkpoints, for --resume.")

    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    progress = models.JSONField(default=dict)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    beat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    failure = models.TextField(blank=True)
    result = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="trainings"
    )

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["task"], condition=Q(state="running"), name="one_running_training_a_task"
            ),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(failure=""), name="failure_says_why"),
        ]
        indexes = [models.Index(fields=["state", "-started_at"], name="training_by_state")]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"
