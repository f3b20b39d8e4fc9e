"""An account: a person of one laboratory, in one role."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models

from diagnosis.models.laboratory import Laboratory


class AccountManager(UserManager["User"]):
    """Lets `createsuperuser` work on an empty database, where there is no laboratory to name yet."""

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **extra_fields: Any
    ) -> User:
        extra_fields.setdefault("role", User.Role.ADMINISTRATOR)
        if "laboratory" not in extra_fields and "laboratory_id" not in extra_fields:
            laboratory = Laboratory.objects.order_by("pk").first()
            extra_fields["laboratory"] = laboratory or Laboratory.objects.create(
                name="Laboratory", slug="laboratory"
            )
        user: User = super().create_superuser(username, email, password, **extra_fields)
        return user


class User(AbstractUser):
    class Role(models.TextChoices):
        TECHNICIAN = "technician", "technician"
        HEMATOLOGIST = "hematologist", "hematologist"
        LABORATORY_HEAD = "laboratory_head", "laboratory head"
        ADMINISTRATOR = "administrator", "administrator"

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="users")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.TECHNICIAN)
    title = models.CharField(
        max_length=80, blank=True, help_text="Before the name in signatures, as Dr. med."
    )

    objects: ClassVar[AccountManager] = AccountManager()

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.username

    def __str__(self) -> str:
        return self.display_name
