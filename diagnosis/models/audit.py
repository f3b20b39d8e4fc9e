"""An audit event: who did what, to what, when. Never edited."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.laboratory import Laboratory


class AuditEvent(ImmutableModel):
    """`laboratory` is empty for what concerns the whole installation, `actor` for what the worker did."""

    at = models.DateTimeField(default=timezone.now, editable=False)
    laboratory = models.ForeignKey(
        Laboratory, on_delete=models.PROTECT, null=True, related_name="audit_events"
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="audit_events"
    )
    action = models.CharField(max_length=40)
    object_type = models.CharField(max_length=40, blank=True)
    object_id = models.CharField(max_length=40, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["laboratory", "-at"], name="audit_by_time"),
            models.Index(fields=["object_type", "object_id"], name="audit_by_object"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}".strip()
