"""A case: one patient specimen under examination."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from diagnosis.models.laboratory import Laboratory


class Case(models.Model):
    class Specimen(models.TextChoices):
        BLOOD = "blood", "peripheral blood"
        MARROW = "marrow", "bone marrow"

    class Status(models.TextChoices):
        PRELIMINARY = "preliminary", "preliminary"
        FINAL = "final", "final"
        AMENDED = "amended", "amended"

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="cases")
    accession_number = models.CharField(max_length=64)
    patient_code = models.CharField(max_length=64, help_text="A pseudonym, never a name.")
    specimen = models.CharField(max_length=10, choices=Specimen.choices, default=Specimen.BLOOD)
    age_years = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(130)],
        help_text="Of the patient, when it was taken.",
    )
    white_cell_count = models.DecimalField(
        max_digits=7, decimal_places=2, null=True, blank=True, validators=[MinValueValidator(0)],
        help_text="Leukocytes, 10^9/l.",
    )  # fmt: skip
    note = models.TextField(blank=True, max_length=4000)
    received_on = models.DateField(default=timezone.localdate)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cases_created"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="cases_assigned",
    )
    status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.PRELIMINARY, editable=False,
        help_text="Of its report; kept by the service that signs.",
    )  # fmt: skip
    newest_sign_out = models.OneToOneField(
        "SignOut", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    amending_since = models.DateTimeField(
        null=True, blank=True, editable=False,
        help_text="Since when an amendment of the signed report is open; empty: none is.",
    )  # fmt: skip
    amending_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    amending_reason = models.TextField(blank=True, max_length=2000, editable=False)
    has_findings = models.BooleanField(
        default=False, editable=False,
        help_text="Signed and closed, with what its images came to kept (services.findings).",
    )  # fmt: skip

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["laboratory", "accession_number"], name="accession_number_once_a_laboratory"
            ),
        ]
        indexes = [
            models.Index(fields=["laboratory", "-created_at"], name="case_by_age"),
            models.Index(fields=["laboratory", "received_on", "created_at", "id"], name="case_by_arrival"),
            models.Index(fields=["laboratory", "patient_code"], name="case_by_patient"),
            models.Index(fields=["laboratory", "status", "-created_at"], name="case_by_status"),
            # Few cases are open among many that are signed.
            models.Index(
                fields=["laboratory"], condition=models.Q(has_findings=False), name="case_without_findings"
            ),
            models.Index(
                fields=["laboratory"], condition=models.Q(amending_since__isnull=False), name="case_amending"
            ),
        ]

    def __str__(self) -> str:
        return self.accession_number
