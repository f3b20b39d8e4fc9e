"""Makes the Celery application current whenever Django is set up.

The usual import in ``webapp/__init__.py`` would load Celery and Django into the supervisor too, which
imports ``webapp.supervise`` and must stay small.
"""

from __future__ import annotations

from django.apps import AppConfig


class WebappConfig(AppConfig):
    """The project as an application of its own: it carries the `prepare` command."""

    name = "webapp"
    verbose_name = "Leukoscope"

    def ready(self) -> None:
        """Load the Celery application, so that shared tasks bind to it in every process."""
        from webapp import celery  # noqa: F401  (imported for its effect)
