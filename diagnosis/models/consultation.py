"""Second opinions that readers ask of colleagues, and disputes between two readings of an image."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from diagnosis.models.case import Case
from diagnosis.models.image import SmearImage
from diagnosis.models.review import Review

_OPEN = Q(answered_at__isnull=True, withdrawn_at__isnull=True)


class SecondOpinion(models.Model):
    """A colleague is asked to read a case, or one image of it; answered when she has reviewed it."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="second_opinions")
    image = models.ForeignKey(
        SmearImage, on_delete=models.PROTECT, null=True, blank=True, related_name="second_opinions"
    )
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="opinions_asked"
    )
    asked_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="opinions_owed"
    )
    question = models.TextField(blank=True, max_length=2000)
    asked_at = models.DateTimeField(default=timezone.now, editable=False)
    answered_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-asked_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["case", "image", "asked_of"],
                condition=_OPEN & Q(image__isnull=False),
                name="one_open_opinion_an_image",
            ),
            models.UniqueConstraint(
                fields=["case", "asked_of"],
                condition=_OPEN & Q(image__isnull=True),
                name="one_open_opinion_a_case",
            ),
        ]
        indexes = [models.Index(fields=["asked_of", "answered_at"], name="opinion_by_colleague")]

    def __str__(self) -> str:
        return f"second opinion on {self.case}"


class Dispute(models.Model):
    """Two readers differ about an image; a third one's review settles it, and is then what counts."""

    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, related_name="disputes")
    first = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="+")
    raised_at = models.DateTimeField(default=timezone.now, editable=False)
    settled_by = models.ForeignKey(
        Review, on_delete=models.PROTECT, null=True, blank=True, related_name="settles"
    )
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="Settled, or ended by one of the two changing her reading."
    )

    class Meta:
        ordering = ["-raised_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["image"], condition=Q(ended_at__isnull=True), name="one_open_dispute_an_image"
            ),
        ]

    def __str__(self) -> str:
        return f"dispute on {self.image}"
