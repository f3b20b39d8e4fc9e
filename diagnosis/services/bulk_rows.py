"""Many rows at once, past the models: COPY on PostgreSQL, one prepared INSERT on SQLite. For drawn archives alone."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.color import no_style
from django.db import connection
from django.db.models import Field, Max, Model

_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Table:
    """Rows of one model, of which the fields `varied` (by attname) are given and every other is `fixed` or its default.

    Values are texts, numbers, dates, times with their zone, lists, dictionaries, bytes and None; keys that are UUIDs
    are given as 32 hexadecimal digits, which both databases take.
    """

    def __init__(self, model: type[Model], varied: Sequence[str], **fixed: Any) -> None:
        self._model = model
        by_name = {field.attname: field for field in model._meta.concrete_fields}
        others = [field for name, field in by_name.items() if name not in varied and not _counts_up(field)]
        fields = [*(by_name[name] for name in varied), *others]
        self._columns = [str(field.column) for field in fields]  # a concrete field has one
        self._constant = [
            fixed[field.attname] if field.attname in fixed else _default(field) for field in others
        ]
        self._tail = "".join(f"\t{_text(value)}" for value in self._constant) + "\n"

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Store rows, in the caller's transaction."""
        if not rows:
            return
        table = connection.ops.quote_name(self._model._meta.db_table)
        names = ", ".join(connection.ops.quote_name(name) for name in self._columns)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    copy.write("".join("\t".join(map(_text, row)) + self._tail for row in rows))
                return
            constant = [_bound(value) for value in self._constant]
            marks = ", ".join(["%s"] * len(self._columns))
            cursor.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",
                [[*map(_bound, row), *constant] for row in rows],
            )


def next_key(model: type[Model]) -> int:
    """The key after the highest one of a model that counts its rows."""
    return int(model._default_manager.aggregate(highest=Max("pk"))["highest"] or 0) + 1


@contextmanager
def unindexed(models: Sequence[type[Model]]) -> Iterator[None]:
    """On PostgreSQL, take away foreign keys and plain indexes of these models meanwhile, within the transaction: made
    anew at the end they cost a tenth of what keeping them costs. Sequences go on after the highest key.
    """
    if connection.vendor != "postgresql":
        yield
        return
    tables = [model._meta.db_table for model in models]
    quoted = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype = 'f' AND conrelid::regclass::text = ANY(%s)",
            [tables],
        )
        constraints = cursor.fetchall()
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE NOT indisprimary AND indrelid::regclass::text = ANY(%s)"
            " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('u', 'p'))",
            [tables],
        )
        indexes = cursor.fetchall()
        # What the transaction stored before must have been checked, or the tables cannot be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        for table, name, _ in constraints:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}")
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
    yield
    with connection.cursor() as cursor:
        for _, definition in indexes:
            cursor.execute(definition)
        for table, name, definition in constraints:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} {definition}")
        for statement in connection.ops.sequence_reset_sql(no_style(), list(models)):
            cursor.execute(statement)


def analyse() -> None:
    """Let the database count anew what its planner goes by."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _counts_up(field: Field[Any, Any]) -> bool:
    return field.primary_key and field.get_internal_type() in {"AutoField", "BigAutoField"}


def _default(field: Field[Any, Any]) -> Any:
    return None if field.null and not field.has_default() else field.get_default()


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _text(value: Any) -> str:
    """A value in the text form of COPY."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPED)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return f"\\\\x{value.hex()}"
    return str(_plain(value)).translate(_ESCAPED) if isinstance(value, list | dict) else str(value)


def _bound(value: Any) -> Any:
    """A value as SQLite's columns hold it."""
    if isinstance(value, datetime.datetime):
        return str(value.astimezone(datetime.UTC).replace(tzinfo=None))
    return str(value) if isinstance(value, datetime.date) else _plain(value)
