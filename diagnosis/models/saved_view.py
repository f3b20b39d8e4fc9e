"""A saved view: filters of a page that a person gave a name."""

from django.conf import settings
from django.db import models


class SavedView(models.Model):
    class Page(models.TextChoices):
        WORKLIST = "worklist", "worklist"
        HISTORY = "history", "history"
        AUDIT = "audit", "audit"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    page = models.CharField(max_length=20, choices=Page.choices)
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=1000, help_text="The query string, without the question mark.")

    class Meta:
        ordering = ["page", "name"]
        constraints = [
            models.UniqueConstraint(fields=["user", "page", "name"], name="view_name_once_a_page"),
        ]

    def __str__(self) -> str:
        return self.name
