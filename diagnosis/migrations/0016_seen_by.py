"""Who has seen a case's images, kept with its counts; and indexes that grow at their end, as cases come."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from diagnosis.services import case_tallies, search_indexes


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    search_indexes.install(schema_editor.connection)


def forget(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("diagnosis", "CaseTally").objects.all().delete()
    case_tallies.note_all(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("diagnosis", "0015_history_indexes"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="case",
            name="case_by_received",
        ),
        migrations.RemoveField(
            model_name="casetally",
            name="active_at",
        ),
        migrations.RunPython(
            migrations.RunPython.noop, forget
        ),  # on the way back before its column, which has no default
        migrations.AlterField(
            model_name="casetally",
            name="traits",
            field=models.TextField(
                blank=True,
                default="",
                help_text="What the history is narrowed by, as an image has it, and who has seen one: ` label=early seen=3 `.",
            ),
        ),
        migrations.AddIndex(
            model_name="case",
            index=models.Index(
                fields=["laboratory", "received_on", "created_at", "id"], name="case_by_arrival"
            ),
        ),
        migrations.AddIndex(
            model_name="signedfinding",
            index=models.Index(
                condition=models.Q(("differs", True)),
                fields=["reviewer_key", "label", "case"],
                name="finding_differs_by",
            ),
        ),
        migrations.RunPython(install, migrations.RunPython.noop),
    ]
