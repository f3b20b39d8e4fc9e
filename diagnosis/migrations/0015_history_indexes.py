"""Indexes for what few images came to, for words that many comments hold, for beginnings of accession numbers, and for
what a reader has seen.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from diagnosis.services import search_indexes


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    search_indexes.install(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0014_case_tallies")]

    operations = [
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(fields=["reviewer_key"], name="finding_by_reviewer"),
        ),
        migrations.AddIndex(
            model_name="signedfinding", index=models.Index(fields=["outcome"], name="finding_by_outcome")
        ),
        migrations.AddIndex(
            model_name="signedfinding", index=models.Index(fields=["label"], name="finding_by_label")
        ),
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(
                condition=models.Q(is_suspected=True), fields=["case"], name="finding_suspected"
            ),
        ),
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(condition=models.Q(is_unread=True), fields=["case"], name="finding_unread"),
        ),
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(condition=models.Q(differs=True), fields=["case"], name="finding_differs"),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(fields=["reviewer", "image"], name="review_by_reader_image"),
        ),
        # The migration that brought the first of them takes all of them back.
        migrations.RunPython(install, migrations.RunPython.noop),
    ]
