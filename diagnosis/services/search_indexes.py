"""Indexes over three-letter pieces of text, by which PostgreSQL finds a word within notes, comments and conclusions.

They need its extension pg_trgm, which a database's owner may add. Where it can't be had, search works without, slowly;
SQLite has nothing alike.
"""

from __future__ import annotations

from typing import Final

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

_INDEXES: Final = {
    "search_case_accession": "diagnosis_case USING gin (UPPER(accession_number::text) gin_trgm_ops)",
    "search_case_patient": "diagnosis_case USING gin (UPPER(patient_code::text) gin_trgm_ops)",
    "search_case_note": "diagnosis_case USING gin (UPPER(note) gin_trgm_ops)",
    "search_review_comment": "diagnosis_review USING gin (UPPER(comment) gin_trgm_ops) WHERE NOT (comment = '')",
    "search_conclusion": "diagnosis_signout USING gin (UPPER(conclusion) gin_trgm_ops)",
}
"""As Django compares where case does not matter: by UPPER."""


def install(connection: BaseDatabaseWrapper) -> bool:
    """Add the indexes that are missing; returns whether this database has them then."""
    if connection.vendor != "postgresql":
        return False
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return False
    with connection.cursor() as cursor:
        for name, body in _INDEXES.items():
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {body}")
    return True


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the indexes; the extension may serve others."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for name in _INDEXES:
                cursor.execute(f"DROP INDEX IF EXISTS {name}")
