"""A model version: a registered bundle."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from diagnosis.models.laboratory import Laboratory


class ModelVersion(models.Model):
    """`laboratory` empty means: for every laboratory that has no active version of its own."""

    class Task(models.TextChoices):
        FIELD = "field", "subtype of a field"
        CELL = "cell", "class of one leukocyte"

    class Status(models.TextChoices):
        CANDIDATE = "candidate", "candidate"
        SHADOW = "shadow", "shadow"
        ACTIVE = "active", "active"
        RETIRED = "retired", "retired"

    task = models.CharField(max_length=10, choices=Task.choices)
    name = models.CharField(max_length=80)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.CANDIDATE)
    laboratory = models.ForeignKey(
        Laboratory, on_delete=models.PROTECT, null=True, blank=True, related_name="model_versions"
    )
    bundle_path = models.CharField(max_length=500)
    bundle_sha256 = models.CharField(max_length=64, help_text="Of bundle.json, which holds all the others.")
    classes = models.JSONField(default=list)
    manifest = models.JSONField(default=dict)
    registered_at = models.DateTimeField(default=timezone.now, editable=False)
    activated_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True, help_text="Why the worker could not load it, in one sentence.")

    class Meta:
        ordering = ["task", "-registered_at"]
        constraints = [
            models.UniqueConstraint(fields=["name", "bundle_sha256"], name="bundle_registered_once"),
            models.UniqueConstraint(
                fields=["task"],
                condition=Q(status="active", laboratory__isnull=True),
                name="one_active_a_task",
            ),
            models.UniqueConstraint(
                fields=["task", "laboratory"],
                condition=Q(status="active", laboratory__isnull=False),
                name="one_active_a_task_and_laboratory",
            ),
        ]

    def __str__(self) -> str:
        return self.name
