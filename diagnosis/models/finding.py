"""What the images of a signed case came to, kept beside it so that the history need not ask a million images."""

from django.db import models

from diagnosis.models.case import Case


class SignedFinding(models.Model):
    """One combination of what the history is narrowed by, as at least one image of a signed case has it; each once.

    Derived, by `services.findings`, and never shown: what a page tells is counted from the images. A signed case is
    closed, so these hold until an amendment is opened, which forgets them. Keys without constraints, as nothing hangs
    on them.
    """

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="findings")
    outcome = models.CharField(
        max_length=15, blank=True, help_text="Of the analysis, or its state if not done."
    )
    label = models.CharField(max_length=60, blank=True, help_text="The class that counts.")
    is_suspected = models.BooleanField()
    is_unread = models.BooleanField()
    differs = models.BooleanField(help_text="Reader and model differ.")
    reviewer_key = models.BigIntegerField(null=True)
    version_key = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["case", "id"]
        indexes = [
            models.Index(fields=["version_key"], name="finding_by_version"),
            models.Index(fields=["reviewer_key"], name="finding_by_reviewer"),
            models.Index(fields=["outcome"], name="finding_by_outcome"),
            models.Index(fields=["label"], name="finding_by_label"),
            models.Index(fields=["case"], condition=models.Q(is_suspected=True), name="finding_suspected"),
            models.Index(fields=["case"], condition=models.Q(is_unread=True), name="finding_unread"),
            models.Index(fields=["case"], condition=models.Q(differs=True), name="finding_differs"),
            models.Index(
                fields=["reviewer_key", "label", "case"],
                condition=models.Q(differs=True),
                name="finding_differs_by",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} {self.label}".strip()
