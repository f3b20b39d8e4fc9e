"""A promotion: one change of which model version is active, with the verdict it rested on. Never edited."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.laboratory import Laboratory
from diagnosis.models.model_version import ModelVersion


class Promotion(ImmutableModel):
    """`verdict` is `ml.promotion.Verdict.to_dict()`; empty where nothing was compared (the first version, a
    rollback). `laboratory` empty means: for every laboratory without a version of its own."""

    class Kind(models.TextChoices):
        FIRST = "first", "first version"
        PROMOTE = "promote", "promoted"
        ROLLBACK = "rollback", "rolled back"

    task = models.CharField(max_length=10, choices=ModelVersion.Task.choices)
    laboratory = models.ForeignKey(
        Laboratory, on_delete=models.PROTECT, null=True, blank=True, related_name="promotions"
    )
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    instead_of = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="replacements"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    forced = models.BooleanField(default=False)
    why = models.TextField(blank=True, max_length=4000)
    verdict = models.JSONField(default=dict)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="promotions"
    )
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["task", "laboratory", "-at"], name="promotion_by_task")]

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"
