"""The clinical application: what is stored, who may do what, what a page shows."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DiagnosisConfig(AppConfig):
    name = "diagnosis"
    verbose_name = "Diagnosis"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the audit's triggers looked after: a migration that rebuilds a table on SQLite drops its triggers."""
        post_migrate.connect(keep_audit_triggers, sender=self, dispatch_uid="diagnosis.keep_audit_triggers")


def keep_audit_triggers(using: str, **kwargs: Any) -> None:
    """Add what is missing of the audit's triggers, once the migration that brought them is applied."""
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    from diagnosis.services import audit_triggers

    connection = connections[using]
    if ("diagnosis", "0007_audit_is_append_only") in MigrationRecorder(connection).applied_migrations():
        audit_triggers.install(connection)
