"""A shadow analysis: what a shadow version says of an image beside the active one. For administrators alone."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from diagnosis.models.analysis import Analysis
from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.model_version import ModelVersion


class ShadowAnalysis(ImmutableModel):
    """It changes no case, no worklist and no report; `failure` says why there is no outcome.

    A shadow of cells has no outcome of the image: `cells` counts those that both versions judged, `cells_same` those
    of them that got the same class from both, or none.
    """

    analysis = models.ForeignKey(Analysis, on_delete=models.PROTECT, related_name="shadows")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="shadow_analyses")
    outcome = models.CharField(max_length=15, choices=Analysis.Outcome.choices, blank=True)
    label = models.CharField(max_length=60, blank=True)
    top_label = models.CharField(max_length=60, blank=True)
    suspected = models.BooleanField(default=False)
    probabilities = models.JSONField(default=dict)
    confidence = models.FloatField(null=True)
    domain_score = models.FloatField(null=True)
    inside_domain = models.BooleanField(null=True)
    reasons = models.JSONField(default=list)
    timings_ms = models.JSONField(default=dict)
    cells = models.PositiveIntegerField(null=True)
    cells_same = models.PositiveIntegerField(null=True)
    suspicion = models.FloatField(null=True, help_text="Index of the shadow's cells, 0 to 1.")
    active_suspected = models.BooleanField(
        null=True, help_text="Whether the cells of the active version are suspicious."
    )
    failure = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "shadow analyses"
        constraints = [
            models.UniqueConstraint(fields=["analysis", "model_version"], name="one_shadow_a_version"),
        ]
        indexes = [models.Index(fields=["model_version", "-created_at"], name="shadow_by_version")]

    def __str__(self) -> str:
        return f"{self.model_version}: {self.outcome or 'failed'} {self.label}".strip()
