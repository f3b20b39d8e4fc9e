"""What the quality page reads: a day's work of a laboratory in numbers, counted once by the upkeep."""

from django.db import models

from diagnosis.models.laboratory import Laboratory
from diagnosis.models.model_version import ModelVersion


class QualityDay(models.Model):
    """`figures` are sums and histograms that add up over days (`diagnosis.services.quality_tallies`).

    They are made from what is stored elsewhere, and made anew at will: nothing else rests on them.
    """

    laboratory = models.ForeignKey(Laboratory, on_delete=models.CASCADE, related_name="quality_days")
    day = models.DateField()
    figures = models.JSONField(default=dict)
    computed_at = models.DateTimeField()

    class Meta:
        ordering = ["laboratory", "-day"]
        constraints = [
            models.UniqueConstraint(fields=["laboratory", "day"], name="quality_once_a_day_and_laboratory"),
        ]

    def __str__(self) -> str:
        return f"{self.laboratory}, {self.day}"


class QualityPeriod(models.Model):
    """The days of a period up to `until`, summed up: all of them in `total`, and what charts show of them in
    `stretches` of equal length, the oldest first. A page reads this one row and not a year of days.
    """

    laboratory = models.ForeignKey(Laboratory, on_delete=models.CASCADE, related_name="quality_periods")
    days = models.PositiveSmallIntegerField()
    until = models.DateField()
    total = models.JSONField(default=dict)
    stretches = models.JSONField(default=list)
    computed_at = models.DateTimeField()

    class Meta:
        ordering = ["laboratory", "days"]
        constraints = [
            models.UniqueConstraint(
                fields=["laboratory", "days"], name="quality_once_a_period_and_laboratory"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.laboratory}, {self.days} days to {self.until}"


class QualityReference(models.Model):
    """What a version's held-out images look like, in the histograms of a `QualityDay`, with their number and split."""

    version = models.OneToOneField(ModelVersion, on_delete=models.CASCADE, related_name="quality_reference")
    bundle_sha256 = models.CharField(max_length=64, help_text="Of the bundle it was read from.")
    figures = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"held-out images of {self.version}"
