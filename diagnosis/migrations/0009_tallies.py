"""The counts that pages of many cases need, kept with every analysis of cells; those there are get theirs."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models import Count, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce, NullIf

# As they stood when this was written: a migration must not change with the rule.
NOT_LEUKOCYTES = ["", "erythroblast", "smudge_cell", "platelet_or_artefact"]
BLASTS = ["blast", "promonocyte"]
A_BATCH = 1000


def count(apps: Any, schema_editor: Any) -> None:
    cells = (
        apps.get_model("diagnosis", "Cell")
        .objects.filter(cell_analysis=OuterRef("pk"), touches_border=False)
        .alias(given=Coalesce(NullIf("newest_reading__label", Value("")), "label"))
        .exclude(given__in=NOT_LEUKOCYTES)
        .order_by()
        .values("cell_analysis")
    )

    def number(only: Q) -> Coalesce:
        return Coalesce(Subquery(cells.annotate(n=Count("pk", filter=only)).values("n")), Value(0))

    analyses = apps.get_model("diagnosis", "CellAnalysis").objects
    highest = analyses.aggregate(highest=models.Max("pk"))["highest"] or 0
    for first in range(1, highest + 1, A_BATCH):
        analyses.filter(pk__gte=first, pk__lt=first + A_BATCH).update(
            leukocytes=number(Q(pk__isnull=False)),
            blasts=number(Q(given__in=BLASTS)),
            promyelocytes=number(Q(given="promyelocyte")),
        )


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0008_reading")]

    operations = [
        migrations.AddField(
            model_name="cellanalysis",
            name="leukocytes",
            field=models.PositiveIntegerField(default=0, help_text="Of the differential, as read."),
        ),
        migrations.AddField(
            model_name="cellanalysis",
            name="blasts",
            field=models.PositiveIntegerField(default=0, help_text="Among `leukocytes`."),
        ),
        migrations.AddField(
            model_name="cellanalysis",
            name="promyelocytes",
            field=models.PositiveIntegerField(default=0, help_text="Among `leukocytes`."),
        ),
        migrations.RunPython(count, migrations.RunPython.noop),
    ]
