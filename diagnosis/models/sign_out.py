"""A sign-out: the electronic signature that makes a case's report final, or an amendment of one. Never edited."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.case import Case
from diagnosis.models.immutable import ImmutableModel


class SignOut(ImmutableModel):
    """`content` is the report as signed, and `content_sha256` the SHA-256 of its canonical JSON.

    Number 1 makes the report final; each later one amends the one before, whose content it leaves as it was.
    """

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="sign_outs")
    number = models.PositiveSmallIntegerField()
    signer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sign_outs")
    signer_name = models.CharField(max_length=250, help_text="As it was when she signed.")
    signer_role = models.CharField(max_length=40)
    meaning = models.CharField(max_length=200, help_text="What the signature says, as a sentence.")
    conclusion = models.TextField(max_length=8000)
    reason = models.TextField(blank=True, max_length=2000, help_text="Why the report was amended.")
    content = models.JSONField()
    content_sha256 = models.CharField(max_length=64)
    audit_sequence = models.PositiveBigIntegerField(
        null=True, help_text="Newest link of the audit chain then."
    )
    audit_head = models.CharField(max_length=64, blank=True, help_text="Its HMAC, printed in the report.")
    signed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["case", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["case", "number"], name="sign_out_number_once_a_case"),
        ]

    def __str__(self) -> str:
        return f"{'report' if self.number == 1 else 'amendment'} {self.number} of {self.case}"
