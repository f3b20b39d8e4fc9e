"""What signed cases came to, kept for the history; indexes for few open cases among many, and for words in texts."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from diagnosis.services import search_indexes


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    search_indexes.install(schema_editor.connection)


def remove(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    search_indexes.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0011_quality")]

    operations = [
        migrations.AddField(
            model_name="case",
            name="has_findings",
            field=models.BooleanField(
                default=False,
                editable=False,
                help_text="Signed and closed, with what its images came to kept (services.findings).",
            ),
        ),
        migrations.CreateModel(
            name="SignedFinding",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True, help_text="Of the analysis, or its state if not done.", max_length=15
                    ),
                ),
                ("label", models.CharField(blank=True, help_text="The class that counts.", max_length=60)),
                ("is_suspected", models.BooleanField()),
                ("is_unread", models.BooleanField()),
                ("differs", models.BooleanField(help_text="Reader and model differ.")),
                ("reviewer_key", models.BigIntegerField(null=True)),
                ("version_key", models.BigIntegerField(null=True)),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="findings",
                        to="diagnosis.case",
                    ),
                ),
            ],
            options={"ordering": ["case", "id"]},
        ),
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(fields=["version_key"], name="finding_by_version"),
        ),
        migrations.AddIndex(
            model_name="case",
            index=models.Index(
                condition=models.Q(has_findings=False), fields=["laboratory"], name="case_without_findings"
            ),
        ),
        migrations.AddIndex(
            model_name="case",
            index=models.Index(
                condition=models.Q(amending_since__isnull=False), fields=["laboratory"], name="case_amending"
            ),
        ),
        migrations.RunPython(install, remove),
    ]
