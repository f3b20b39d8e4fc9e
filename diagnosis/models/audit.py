"""An audit event: who did what, to what, when. Never edited."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.laboratory import Laboratory


class AuditEvent(ImmutableModel):
    """`laboratory` is empty for what concerns the whole installation, `actor` for what the worker did.

    Each event is a link of one chain: `mac` is the HMAC of the event and of the `mac` before it
    (services.audit_chain). The database itself refuses to change or delete one (services.audit_triggers).
    Events from before there was a chain have neither number nor HMAC.
    """

    sequence = models.PositiveBigIntegerField(null=True, unique=True, editable=False)
    mac = models.CharField(max_length=64, blank=True, editable=False)
    address = models.GenericIPAddressField(null=True, help_text="Where the request came from.")
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
            models.Index(fields=["actor", "-at"], name="audit_by_actor"),
            models.Index(fields=["laboratory", "action", "-at"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}".strip()


class AuditHead(models.Model):
    """The newest link of the chain, one row: locked by whoever adds the next. `seal` is an HMAC over both."""

    sequence = models.PositiveBigIntegerField(default=0)
    mac = models.CharField(max_length=64, blank=True)
    seal = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return str(self.sequence)
