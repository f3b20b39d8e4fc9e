"""The clinical application: what is stored, who may do what, what a page shows."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate


class DiagnosisConfig(AppConfig):
    name = "diagnosis"
    verbose_name = "Diagnosis"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have connections set up, and the triggers looked after: a migration that rebuilds a table on SQLite drops
        those on it, and fails where those of others name it.
        """
        connection_created.connect(compile_nothing, dispatch_uid="diagnosis.compile_nothing")
        pre_migrate.connect(put_aside_triggers, sender=self, dispatch_uid="diagnosis.put_aside_triggers")
        post_migrate.connect(keep_triggers, sender=self, dispatch_uid="diagnosis.keep_triggers")


def compile_nothing(connection: Any, **kwargs: Any) -> None:
    """Have PostgreSQL not compile queries: it takes a page of 25 cases for a long report, and the compiler longer than
    the answer.
    """
    if connection.vendor == "postgresql":
        connection.connection.execute("SET jit = off")


def put_aside_triggers(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Take the triggers of tallies away on SQLite while there is something to migrate."""
    from django.db import connections

    from diagnosis.services import tally_triggers

    if plan and connections[using].vendor == "sqlite":
        tally_triggers.remove(connections[using])


def keep_triggers(using: str, **kwargs: Any) -> None:
    """Add what is missing of the triggers, once the migrations that brought them are applied."""
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    from diagnosis.services import audit_triggers, case_tallies, tally_triggers

    connection = connections[using]
    applied = MigrationRecorder(connection).applied_migrations()
    if ("diagnosis", "0007_audit_is_append_only") in applied:
        audit_triggers.install(connection)
    if ("diagnosis", "0014_case_tallies") in applied and tally_triggers.missing(connection):
        tally_triggers.install(connection)
        case_tallies.note_all(connection)
