"""The database's own refusal to change what the audit holds: triggers, for SQLite and for PostgreSQL.

They guard against mistakes, and against whoever has no right to drop them; who has is found out by the chain.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from diagnosis.models import AuditEvent, AuditHead

_EVENTS = AuditEvent._meta.db_table
_HEAD = AuditHead._meta.db_table
KEPT = "Audit events are never edited or deleted."
HEAD_KEPT = "The head of the audit only goes on."

_SQLITE = {
    "audit_event_keeps_update": (
        f"BEFORE UPDATE ON {_EVENTS} BEGIN SELECT RAISE(ABORT, '{KEPT}'); END"
    ),
    "audit_event_keeps_delete": (
        f"BEFORE DELETE ON {_EVENTS} BEGIN SELECT RAISE(ABORT, '{KEPT}'); END"
    ),
    # INSERT OR REPLACE deletes the row that was there without asking the trigger above.
    "audit_event_keeps_insert": (
        f"BEFORE INSERT ON {_EVENTS} "
        f"WHEN EXISTS (SELECT 1 FROM {_EVENTS} WHERE id = NEW.id OR sequence = NEW.sequence) "
        f"BEGIN SELECT RAISE(ABORT, '{KEPT}'); END"
    ),
    "audit_head_keeps_update": (
        f"BEFORE UPDATE ON {_HEAD} WHEN NEW.id <> OLD.id OR NEW.sequence < OLD.sequence "
        f"BEGIN SELECT RAISE(ABORT, '{HEAD_KEPT}'); END"
    ),
    "audit_head_keeps_delete": (
        f"BEFORE DELETE ON {_HEAD} BEGIN SELECT RAISE(ABORT, '{HEAD_KEPT}'); END"
    ),
}  # fmt: skip

_POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION leukoscope_audit_keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""
_POSTGRES = {
    "audit_event_keeps": (
        _EVENTS,
        f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {_EVENTS} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION leukoscope_audit_keeps('{KEPT}')",
    ),
    "audit_head_keeps_rows": (
        _HEAD,
        f"BEFORE DELETE OR TRUNCATE ON {_HEAD} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION leukoscope_audit_keeps('{HEAD_KEPT}')",
    ),
    "audit_head_keeps_update": (
        _HEAD,
        f"BEFORE UPDATE ON {_HEAD} FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.sequence < OLD.sequence) "
        f"EXECUTE FUNCTION leukoscope_audit_keeps('{HEAD_KEPT}')",
    ),
}


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of the triggers that this database lacks, or that somebody switched off."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            wanted = list(_SQLITE)
        else:
            cursor.execute(
                "SELECT tgname FROM pg_trigger WHERE tgenabled = 'A' "
                "AND tgrelid IN (to_regclass(%s), to_regclass(%s))",
                [_EVENTS, _HEAD],
            )
            wanted = list(_POSTGRES)
        there = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in there]


def install(connection: BaseDatabaseWrapper) -> None:
    """Add the triggers that are missing."""
    lacking = missing(connection)
    if not lacking:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in lacking:
                cursor.execute(f"CREATE TRIGGER {name} {_SQLITE[name]}")
            return
        cursor.execute(_POSTGRES_FUNCTION)
        for name in lacking:
            table, body = _POSTGRES[name]
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
            cursor.execute(f"CREATE TRIGGER {name} {body}")
            # Replication settings of a session switch ordinary triggers off, not one that is always on.
            cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers: what takes the audit's tables away must do it, and tests that empty them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in _SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            return
        for name, (table, _) in _POSTGRES.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        cursor.execute("DROP FUNCTION IF EXISTS leukoscope_audit_keeps()")
