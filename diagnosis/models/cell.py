"""The leukocytes of an analysis: what the `cell` model found in a smear image, and readers' classes of single cells."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from diagnosis.models.analysis import Analysis
from diagnosis.models.immutable import ImmutableModel
from diagnosis.models.model_version import ModelVersion
from diagnosis.storage import smear_storage


class CellAnalysis(models.Model):
    """What was found in the image of one analysis; stored with it, in its transaction, and never edited but for three
    counts, which follow the readings of its cells (services.tallies).

    `failure` says in a sentence why there are no cells although the analysis ended (no cell model, say).
    `sprite` holds the cells' tiles, `sprite_columns` in a row, in the order of their numbers.
    """

    analysis = models.OneToOneField(Analysis, on_delete=models.PROTECT, related_name="cell_analysis")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="cell_analyses"
    )
    um_per_pixel = models.FloatField(null=True, help_text="Of the stored image.")
    scale_is_measured = models.BooleanField(default=False, help_text="On red cells; else assumed.")
    problems = models.JSONField(default=list, help_text="Why not all cells were found, in words.")
    suspicion = models.FloatField(null=True, help_text="Index from 0 to 1; empty where no cell was judged.")
    counted = models.PositiveIntegerField(default=0, help_text="Leukocytes wholly in view.")
    leukocytes = models.PositiveIntegerField(default=0, help_text="Of the differential, as read.")
    blasts = models.PositiveIntegerField(default=0, help_text="Among `leukocytes`.")
    promyelocytes = models.PositiveIntegerField(default=0, help_text="Among `leukocytes`.")
    sprite = models.FileField(storage=smear_storage, max_length=200, blank=True)
    sprite_columns = models.PositiveSmallIntegerField(default=0)
    tile_pixels = models.PositiveSmallIntegerField(default=0)
    tile_um = models.FloatField(null=True)
    timings_ms = models.JSONField(default=dict)
    failure = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "cell analyses"

    def __str__(self) -> str:
        return f"{self.counted} leukocytes"


class Cell(models.Model):
    """One thing found in a smear image. `newest_reading` is kept by the service that adds the reading it points to."""

    cell_analysis = models.ForeignKey(CellAnalysis, on_delete=models.PROTECT, related_name="cells")
    number = models.PositiveIntegerField(help_text="From top to bottom, from 0; its place in the sprite.")
    x = models.PositiveIntegerField()
    y = models.PositiveIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, help_text="As the finder of cells names it: ml.cells.cell.Kind.")
    touches_border = models.BooleanField(default=False)
    confidence = models.FloatField(help_text="That it is what `kind` says, 0 to 1.")
    area_um2 = models.FloatField()
    nucleus_um2 = models.FloatField()
    label = models.CharField(max_length=40, blank=True, help_text="The model's class, inside its domain.")
    top_label = models.CharField(max_length=40, blank=True)
    probabilities = models.JSONField(default=dict)
    blast_probability = models.FloatField(null=True)
    domain_score = models.FloatField(null=True)
    inside_domain = models.BooleanField(null=True)
    saliency = models.JSONField(default=list, help_text="Rows of values from 0 to 1 over the tile.")
    embedding = models.BinaryField(default=b"", help_text="Little-endian float16 values.")
    newest_reading = models.OneToOneField(
        "CellReading", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["cell_analysis", "number"]
        constraints = [
            models.UniqueConstraint(fields=["cell_analysis", "number"], name="cell_once_an_analysis"),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.label or self.kind}"


class CellReading(ImmutableModel):
    """A reader's class of one cell; empty takes an earlier one back. Never edited; the newest counts.

    Readings made by one action share a `batch`, which is what undo takes back.
    """

    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="readings")
    reader = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cell_readings"
    )
    label = models.CharField(max_length=40, blank=True)
    batch = models.UUIDField(default=uuid.uuid4, db_index=True)
    undoes = models.UUIDField(null=True, help_text="The batch that this one takes back.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["cell", "-created_at"], name="reading_by_cell")]

    def __str__(self) -> str:
        return self.label or "taken back"
