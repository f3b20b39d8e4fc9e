"""The Django project: settings, URLs, Celery, WSGI and the supervisor. Nothing clinical lives here."""
