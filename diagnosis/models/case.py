"""A case: one patient specimen under examination."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.laboratory import Laboratory


class Case(models.Model):
    class Specimen(models.TextChoices):
        BLOOD = "blood", "peripheral blood"
        MARROW = "marrow", "bone marrow"

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="cases")
    accession_number = models.CharField(max_length=64)
    patient_code = models.CharField(max_length=64, help_text="A pseudonym, never a name.")
    specimen = models.CharField(max_length=10, choices=Specimen.choices, default=Specimen.BLOOD)
    note = models.TextField(blank=True, max_length=4000)
    received_on = models.DateField(default=timezone.localdate)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cases_created"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["laboratory", "accession_number"], name="accession_number_once_a_laboratory"
            ),
        ]
        indexes = [
            models.Index(fields=["laboratory", "-created_at"], name="case_by_age"),
            models.Index(fields=["laboratory", "-received_on"], name="case_by_received"),
            models.Index(fields=["laboratory", "patient_code"], name="case_by_patient"),
        ]

    def __str__(self) -> str:
        return self.accession_number
