"""Rows that are written once: reviews and audit events."""

from __future__ import annotations

from typing import Any

from django.db import models


class ImmutableRow(Exception):
    """Raised by an attempt to change or delete a row that is written once."""


class ImmutableQuerySet(models.QuerySet[Any]):
    """A queryset that refuses bulk changes, so that no shortcut passes by the model."""

    def update(self, **kwargs: Any) -> int:
        raise ImmutableRow(f"A {self.model._meta.verbose_name} is never edited.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise ImmutableRow(f"A {self.model._meta.verbose_name} is never edited.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise ImmutableRow(f"A {self.model._meta.verbose_name} is never deleted.")


class ImmutableModel(models.Model):
    """Base of the models whose rows can be added and read, and nothing else."""

    objects = ImmutableQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ImmutableRow(f"A {self._meta.verbose_name} is never edited.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise ImmutableRow(f"A {self._meta.verbose_name} is never deleted.")
