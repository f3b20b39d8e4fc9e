"""A review: one clinician's reading of a smear image. Never edited; the newest counts."""

from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.analysis import Analysis
from diagnosis.models.image import SmearImage
from diagnosis.models.immutable import ImmutableModel


class BlindReading(ImmutableModel):
    """A reader's class of an image before the model's was shown to her; what follows is a review."""

    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, related_name="blind_readings")
    analysis = models.ForeignKey(
        Analysis, on_delete=models.PROTECT, null=True, related_name="blind_readings",
        help_text="The newest one at that time, which it revealed.",
    )  # fmt: skip
    reader = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="blind_readings"
    )
    label = models.CharField(max_length=60)
    seconds = models.FloatField(
        null=True, help_text="From the image's showing to the class, as the browser says."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["analysis", "reader"], name="blind_once_an_analysis_and_reader"),
        ]

    def __str__(self) -> str:
        return f"{self.label}, blind"


class Review(ImmutableModel):
    """`label` is the class the reviewer stands for; empty when she agrees with an indeterminate outcome, cannot tell,
    or takes back an earlier review of her own (`withdraws`), which then counts no longer.

    Reviews of several images made by one action share a `batch`, which can be taken back as one.
    """

    class Verdict(models.TextChoices):
        AGREE = "agree", "agrees"
        OVERRULE = "overrule", "overrules"
        UNSURE = "unsure", "cannot tell"
        WITHDRAW = "withdraw", "takes back"

    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, related_name="reviews")
    analysis = models.ForeignKey(Analysis, on_delete=models.PROTECT, null=True, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews")
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    label = models.CharField(max_length=60, blank=True)
    comment = models.TextField(blank=True, max_length=4000)
    blind_reading = models.ForeignKey(
        BlindReading, on_delete=models.PROTECT, null=True, related_name="reviews"
    )
    withdraws = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="withdrawn_by")
    seconds = models.FloatField(null=True, help_text="From the outcome's showing, as the browser says.")
    batch = models.UUIDField(null=True, editable=False, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["image", "-created_at"], name="review_by_image"),
            models.Index(fields=["label", "-created_at"], name="review_by_label"),
            # Which of a few images she has seen, of the hundred thousand that a reader has.
            models.Index(fields=["reviewer", "image"], name="review_by_reader_image"),
        ]

    def stands(self, newest_analysis_id: UUID | None) -> bool:
        """Whether the image counts as read by it: an agreement, and that one cannot tell, hold until the image is
        analysed anew; another label holds for good.
        """
        return self.verdict == self.Verdict.OVERRULE or self.analysis_id == newest_analysis_id

    def __str__(self) -> str:
        return f"{self.verdict} {self.label}".strip()
