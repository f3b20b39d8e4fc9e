"""Counts of cases kept for the worklist and the history, and triggers that note which of them no longer hold."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from diagnosis.services import case_tallies, tally_triggers


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    tally_triggers.install(schema_editor.connection)
    case_tallies.note_all(schema_editor.connection)


def remove(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    tally_triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("diagnosis", "0013_quality_periods"),
    ]

    operations = [
        migrations.CreateModel(
            name="CaseTally",
            fields=[
                (
                    "case",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="tally",
                        serialize=False,
                        to="diagnosis.case",
                    ),
                ),
                ("image_count", models.PositiveIntegerField()),
                ("suspected_count", models.PositiveIntegerField()),
                ("unjudged_count", models.PositiveIntegerField()),
                ("indeterminate_count", models.PositiveIntegerField()),
                ("failed_count", models.PositiveIntegerField()),
                ("unfinished_count", models.PositiveIntegerField()),
                ("reviewed_count", models.PositiveIntegerField()),
                ("unread_count", models.PositiveIntegerField()),
                ("overruled_count", models.PositiveIntegerField()),
                ("unsure_count", models.PositiveIntegerField()),
                ("promyelocyte_count", models.PositiveIntegerField()),
                ("leukocyte_count", models.PositiveIntegerField()),
                ("suspicion", models.FloatField(null=True)),
                ("active_at", models.DateTimeField()),
                ("rank", models.PositiveSmallIntegerField()),
                (
                    "traits",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="What the history is narrowed by, as an image has it: ` label=early reader=3 differs `.",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "case tallies",
            },
        ),
        migrations.CreateModel(
            name="StaleTally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("case_key", models.BigIntegerField(db_index=True)),
            ],
            options={
                "verbose_name_plural": "stale tallies",
            },
        ),
        migrations.RunPython(install, remove),
    ]
