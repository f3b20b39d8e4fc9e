"""A smear image: one uploaded microscope picture of a case."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.case import Case
from diagnosis.models.laboratory import Site
from diagnosis.storage import smear_storage

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
}


class SmearImage(models.Model):
    """`sha256` is that of the bytes as uploaded; what is stored has lost its metadata, and its own hash.

    `newest_analysis` and `newest_review` are kept by the services, in the transaction that adds the row they
    point to: every page asks for the newest, and an index lookup answers it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="images")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True, related_name="images")
    position = models.PositiveIntegerField()
    original_name = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    format = models.CharField(max_length=10, help_text="As uploaded.")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    byte_size = models.PositiveBigIntegerField(help_text="As uploaded.")
    file = models.FileField(storage=smear_storage, max_length=200)
    stored_sha256 = models.CharField(max_length=64)
    stored_format = models.CharField(max_length=10)
    thumbnail = models.FileField(storage=smear_storage, max_length=200, blank=True)
    notes = models.JSONField(default=list, help_text="What was converted on reading, in words.")
    is_drawn = models.BooleanField(default=False)
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="images_uploaded"
    )
    uploaded_at = models.DateTimeField(default=timezone.now, editable=False)
    newest_analysis = models.OneToOneField(
        "Analysis", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    newest_review = models.OneToOneField(
        "Review", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["case", "position"]
        constraints = [
            models.UniqueConstraint(fields=["case", "sha256"], name="image_once_a_case"),
            models.UniqueConstraint(fields=["case", "position"], name="position_once_a_case"),
        ]
        indexes = [
            models.Index(fields=["stored_sha256"], name="image_by_stored_bytes"),
        ]

    def __str__(self) -> str:
        return self.original_name

    @property
    def media_type(self) -> str:
        """Media type of the stored file, for the response that serves it."""
        return MEDIA_TYPES[self.stored_format]
