"""The laboratory, which owns its users, cases and sites, and its sites."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class Laboratory(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=80, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    accepted_sensitivity = models.FloatField(
        null=True, blank=True, validators=SHARE,
        help_text="Lowest sensitivity for malignant (0 to 1) that a model must prove at a site; empty: not set.",
    )  # fmt: skip
    accepted_specificity = models.FloatField(
        null=True, blank=True, validators=SHARE,
        help_text="Lowest specificity for malignant (0 to 1) that a model must prove at a site; empty: not set.",
    )  # fmt: skip

    address = models.TextField(blank=True, max_length=600, help_text="Letterhead of reports, below the name.")
    is_blind = models.BooleanField(
        default=False, verbose_name="blind reading",
        help_text="The reader's class first, the model's after.",
    )  # fmt: skip
    malignant_share = models.FloatField(
        null=True, blank=True, validators=SHARE,
        help_text="Share of this laboratory's fields that are malignant (0 to 1); empty: not set.",
    )  # fmt: skip
    turnaround_hours = models.PositiveSmallIntegerField(
        default=24, validators=[MinValueValidator(1)],
        help_text="From receipt to signature; a case that takes longer is marked late.",
    )  # fmt: skip
    idle_minutes = models.PositiveSmallIntegerField(
        default=30, validators=[MinValueValidator(1), MaxValueValidator(720)],
        help_text="Minutes without a request after which the screen is locked.",
    )  # fmt: skip
    needs_second_factor = models.BooleanField(
        default=False, help_text="Nobody works without a second factor (one-time code or passkey)."
    )

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "laboratories"

    def __str__(self) -> str:
        return self.name


class Site(models.Model):
    """The microscope, stain and camera that made an image."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="sites")
    name = models.CharField(max_length=200)

    class Meta:
        ordering = ["laboratory", "name"]
        constraints = [
            models.UniqueConstraint(fields=["laboratory", "name"], name="site_name_once_a_laboratory"),
        ]

    def __str__(self) -> str:
        return self.name
