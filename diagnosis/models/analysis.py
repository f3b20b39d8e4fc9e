"""An analysis: one run of one model version on one smear image. Never edited once it has ended."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from diagnosis.models.image import SmearImage
from diagnosis.models.model_version import ModelVersion
from diagnosis.storage import smear_storage


class Analysis(models.Model):
    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    class Outcome(models.TextChoices):
        CLASS = "class", "class with probability"
        INDETERMINATE = "indeterminate", "indeterminate"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, related_name="analyses")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    # Who works on it, and until when the claim stands without being renewed.
    queued_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, help_text="Last handed to the broker; empty: not there now.")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_by = models.CharField(max_length=120, blank=True)

    # What came out.
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="analyses"
    )
    outcome = models.CharField(max_length=15, choices=Outcome.choices, blank=True)
    label = models.CharField(max_length=60, blank=True)
    top_label = models.CharField(max_length=60, blank=True)
    suspected = models.BooleanField(default=False, help_text="A malignant class inside the domain.")
    probabilities = models.JSONField(default=dict)
    confidence = models.FloatField(null=True)
    confidence_low = models.FloatField(null=True)
    confidence_high = models.FloatField(null=True)
    domain_score = models.FloatField(null=True)
    domain_threshold = models.FloatField(null=True)
    domain_percentile = models.FloatField(null=True)
    inside_domain = models.BooleanField(null=True)
    reasons = models.JSONField(default=list)
    quality = models.JSONField(default=dict)
    maps = models.JSONField(default=dict, help_text="Saliency method -> 7x7 values from 0 to 1.")
    embedding = models.BinaryField(
        default=b"", editable=False,
        help_text="Little-endian float16 values: where the network places the image. Compared within a model version.",
    )  # fmt: skip
    processed = models.FileField(storage=smear_storage, max_length=200, blank=True)
    timings_ms = models.JSONField(default=dict)
    runtime = models.CharField(max_length=40, blank=True)
    device = models.CharField(max_length=120, blank=True)
    preprocessing_version = models.PositiveIntegerField(null=True)
    input_sha256 = models.CharField(max_length=64, blank=True)
    failure = models.TextField(blank=True)

    class Meta:
        ordering = ["-queued_at", "-id"]
        verbose_name_plural = "analyses"
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="done") | (Q(model_version__isnull=False) & ~Q(outcome="")),
                name="done_has_outcome_and_model",
            ),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(failure=""), name="failed_says_why"),
            models.UniqueConstraint(
                fields=["image"], condition=Q(state__in=["queued", "running"]), name="one_unfinished_an_image"
            ),
        ]
        indexes = [
            models.Index(fields=["image", "-queued_at"], name="analysis_by_image"),
            # Not a partial index: SQLite uses those only for constants, and Django sends parameters.
            models.Index(fields=["state", "queued_at"], name="analysis_by_state"),
            models.Index(fields=["finished_at"], name="analysis_by_finish"),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.outcome}".strip()

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED
