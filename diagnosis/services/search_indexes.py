"""Indexes of PostgreSQL by which the history finds words, and the newest cases of what it finds.

Those over three-letter pieces of text find a word within notes, comments and conclusions. They need its extension
pg_trgm, which a database's owner may add. Where it can't be had, search is slow; SQLite has nothing alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

_PLAIN: Final = {
    "search_accession_start": "diagnosis_case (laboratory_id, UPPER(accession_number::text) text_pattern_ops)",
    "search_patient_start": "diagnosis_case (laboratory_id, UPPER(patient_code::text) text_pattern_ops)",
    # Not "<> ''": a search for all comments with a word, which says so, would go through this one.
    "search_comment_lately": "diagnosis_review (created_at DESC) WHERE comment > ''",
    # Read backwards. The other way round, every new case would come first and leave half-empty pages behind.
    "search_signed_arrival": "diagnosis_case (laboratory_id, received_on, created_at, id) WHERE has_findings",
}
_OF_PIECES: Final = {
    "search_case_accession": "diagnosis_case USING gin (UPPER(accession_number::text) gin_trgm_ops)",
    "search_case_patient": "diagnosis_case USING gin (UPPER(patient_code::text) gin_trgm_ops)",
    "search_case_note": "diagnosis_case USING gin (UPPER(note) gin_trgm_ops)",
    # Over empty comments too: of an index over some rows only, the planner learns nothing of how frequent a word is.
    "search_comment": "diagnosis_review USING gin (UPPER(comment) gin_trgm_ops)",
    "search_conclusion": "diagnosis_signout USING gin (UPPER(conclusion) gin_trgm_ops)",
}
"""As Django compares where case does not matter: by UPPER."""
_REPLACED: Final = ("search_review_comment", "search_comment_newest", "search_signed_newest")
"""Names of indexes that there were: one over other rows needs another name, for what is there is not added again."""


def install(connection: BaseDatabaseWrapper) -> bool:
    """Add the indexes that are missing; returns whether this database has them all then."""
    if connection.vendor != "postgresql":
        return False
    _add(connection, _PLAIN)
    _drop(connection, _REPLACED)
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return False
    _add(connection, _OF_PIECES)
    return True


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the indexes; the extension may serve others."""
    if connection.vendor == "postgresql":
        _drop(connection, (*_PLAIN, *_OF_PIECES, *_REPLACED))


def _add(connection: BaseDatabaseWrapper, indexes: Mapping[str, str]) -> None:
    with connection.cursor() as cursor:
        for name, body in indexes.items():
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {body}")


def _drop(connection: BaseDatabaseWrapper, names: Iterable[str]) -> None:
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"DROP INDEX IF EXISTS {name}")
