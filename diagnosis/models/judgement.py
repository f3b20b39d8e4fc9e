"""A judgement: one comparison of a model version with the active one, made by a worker or a command."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from diagnosis.models.model_version import ModelVersion


class Judgement(models.Model):
    """`verdict` is `ml.promotion.Verdict.to_dict()` once it is done, `failure` one sentence when it could not be
    made, `progress` {"done", "total", "words"} meanwhile.

    While it runs, its process renews `beat_at`; a running judgement whose beat is old belongs to a dead process.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="judgements")
    against = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+",
        help_text="The version that was active; empty where there was none.",
    )  # fmt: skip
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="judgements"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    progress = models.JSONField(default=dict)
    verdict = models.JSONField(default=dict)
    failure = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_by = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, help_text="Last handed to the broker.")
    beat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["version"],
                condition=Q(state__in=["queued", "running"]),
                name="one_unfinished_judgement_a_version",
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(failure=""), name="judgement_failure_says_why"
            ),
        ]
        indexes = [models.Index(fields=["version", "-created_at"], name="judgement_by_version")]

    def __str__(self) -> str:
        return f"{self.version} ({self.state})"

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED
