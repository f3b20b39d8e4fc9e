"""The database itself refuses to change or delete audit events; the head of their chain is sealed."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from diagnosis.services import audit_triggers


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    audit_triggers.install(schema_editor.connection)


def remove(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    audit_triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0006_clinic")]

    operations = [
        migrations.AddField(
            model_name="audithead",
            name="seal",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.RunPython(install, remove),
    ]
