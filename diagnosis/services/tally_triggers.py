"""Triggers by which the database itself notes that a case's tally no longer holds (`StaleTally`).

Images, analyses, cells and readings change at many places, and a place that forgot to say so would leave a suspected
case at the end of the worklist. The database forgets none. For SQLite and PostgreSQL. One whose body is to change gets
another name: they are installed by their names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from diagnosis.models import Analysis, BlindReading, Case, CellAnalysis, SmearImage, StaleTally

_STALE: Final = StaleTally._meta.db_table
_CASES, _IMAGES, _ANALYSES, _CELLS, _BLIND = (
    model._meta.db_table for model in (Case, SmearImage, Analysis, CellAnalysis, BlindReading)
)


class _Trigger(NamedTuple):
    """`event` on `table`, for rows whose `columns` changed (any row where it names none), notes the cases that `select`
    gives for the row {row}.
    """

    table: str
    event: str
    select: str
    columns: tuple[str, ...] = ()


_OF_IMAGE: Final = "SELECT {row}.case_id"
_OF_ITS_IMAGE: Final = f"SELECT case_id FROM {_IMAGES} WHERE id = {{row}}.image_id"
_OF_CELLS: Final = (
    f"SELECT case_id FROM {_IMAGES} "
    f"WHERE id = (SELECT image_id FROM {_ANALYSES} WHERE id = {{row}}.analysis_id)"
)
_TRIGGERS: Final = {
    "tally_image_added": _Trigger(_IMAGES, "INSERT", _OF_IMAGE),
    "tally_image_removed": _Trigger(_IMAGES, "DELETE", _OF_IMAGE),
    "tally_image_changed": _Trigger(
        _IMAGES, "UPDATE", _OF_IMAGE, ("newest_analysis_id", "newest_review_id", "uploaded_at")
    ),
    # Its model's version comes with its state, and is never changed alone.
    "tally_analysis_changed": _Trigger(
        _ANALYSES, "UPDATE", _OF_ITS_IMAGE, ("state", "outcome", "label", "suspected")
    ),
    "tally_cells_added": _Trigger(_CELLS, "INSERT", _OF_CELLS),
    "tally_cells_changed": _Trigger(
        _CELLS, "UPDATE", _OF_CELLS, ("suspicion", "promyelocytes", "leukocytes")
    ),
    # Who has seen an image may be told what its model said. A review is noted as its image's newest.
    "tally_blind_reading_added": _Trigger(_BLIND, "INSERT", _OF_ITS_IMAGE),
    "tally_case_added": _Trigger(_CASES, "INSERT", "SELECT {row}.id"),
    # It decides what counts as possible APL.
    "tally_case_changed": _Trigger(_CASES, "UPDATE", "SELECT {row}.id", ("specimen",)),
}


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of the triggers that this database lacks."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute(
                "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A') "
                "AND tgrelid IN (to_regclass(%s), to_regclass(%s), to_regclass(%s), to_regclass(%s), to_regclass(%s))",
                [_CASES, _IMAGES, _ANALYSES, _CELLS, _BLIND],
            )
        there = {name for (name,) in cursor.fetchall()}
    return [name for name in _TRIGGERS if name not in there]


def install(connection: BaseDatabaseWrapper) -> None:
    """Add the triggers that are missing."""
    with connection.cursor() as cursor:
        for name in missing(connection):
            for statement in _statements(name, _TRIGGERS[name], connection.vendor):
                cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers; tallies that are there are worth nothing then."""
    with connection.cursor() as cursor:
        for name, trigger in _TRIGGERS.items():
            if connection.vendor == "sqlite":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {trigger.table}")
                cursor.execute(f"DROP FUNCTION IF EXISTS leukoscope_{name}()")


def _statements(name: str, trigger: _Trigger, vendor: str) -> list[str]:
    row = "OLD" if trigger.event == "DELETE" else "NEW"
    note = f"INSERT INTO {_STALE} (case_key) {trigger.select.format(row=row)}"
    differs = "IS NOT" if vendor == "sqlite" else "IS DISTINCT FROM"
    of = f" OF {', '.join(trigger.columns)}" if trigger.columns else ""
    changed = " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in trigger.columns)
    when = f" WHEN ({changed})" if changed else ""
    event = f"AFTER {trigger.event}{of} ON {trigger.table}"
    if vendor == "sqlite":
        return [f"CREATE TRIGGER {name} {event}{when} BEGIN {note}; END"]
    return [
        f"CREATE OR REPLACE FUNCTION leukoscope_{name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {note}; RETURN NULL; END $$",
        f"DROP TRIGGER IF EXISTS {name} ON {trigger.table}",
        f"CREATE TRIGGER {name} {event} FOR EACH ROW{when} EXECUTE FUNCTION leukoscope_{name}()",
    ]
