"""The WSGI entry point that gunicorn serves."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")


def warm_up() -> None:
    """Do once, before gunicorn forks its workers, what each of them would do in its first requests.

    Views are imported, addresses resolved and the product's own templates compiled: 0.75 s on two cores, which somebody
    would wait for after each worker's start. No database is asked: a connection must not live through a fork.
    """
    from django.apps import apps
    from django.template.loader import get_template
    from django.urls import get_resolver

    get_resolver()._populate()  # what the first reverse() does
    folder = Path(apps.get_app_config("diagnosis").path) / "templates"
    for template in sorted(folder.rglob("*.html")):
        get_template(str(template.relative_to(folder)))
    # What stands now stands for good: no collection looks at it again, and workers keep sharing its memory.
    gc.collect()
    gc.freeze()


application = get_wsgi_application()
warm_up()
