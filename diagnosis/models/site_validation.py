"""A site validation: what a model version does on labelled images of one site, measured once. Never edited."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.laboratory import Site
from diagnosis.models.model_version import ModelVersion


class SiteValidation(ImmutableModel):
    """`before` and `after` are evidence sections (`ml.evaluation.evidence.Section.to_dict()`) on the same images
    of the site, none of which the version learnt from (or, where there were too few, each judged by what was fitted
    without its group: `after["split"]` says which); `before` is the version it was adapted from, if any."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="validations")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="site_validations")
    adapted_from = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    adapted_with = models.PositiveIntegerField(
        default=0, help_text="Labelled images of the site it learnt from."
    )
    n = models.PositiveIntegerField(help_text="Images of the site it was measured on.")
    groups = models.PositiveIntegerField()
    method = models.CharField(
        max_length=60, blank=True, help_text="How it was adapted, as cross-validation chose."
    )
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["site", "-created_at"], name="validation_by_site")]

    def __str__(self) -> str:
        return f"{self.model_version} at {self.site}"
