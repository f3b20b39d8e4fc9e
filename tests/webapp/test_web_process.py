"""What the web process loads and how it starts: no model runtime, ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys

FORBIDDEN = ("tensorflow", "keras", "openvino", "onnx", "torch", "sklearn", "matplotlib")

CODE = """
import json, sys
from webapp.wsgi import application
from django.test import Client
from django.urls import get_resolver
def walk(patterns):
    for pattern in patterns:
        walk(pattern.url_patterns) if hasattr(pattern, "url_patterns") else pattern.callback
walk(get_resolver().url_patterns)
assert Client().get("/healthz", headers={"host": "localhost"}).status_code in (200, 503)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_it_loads_no_model_runtime() -> None:
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    assert "diagnosis" in loaded
    assert loaded.isdisjoint(FORBIDDEN)


def test_the_supervisor_stays_free_of_django_and_celery() -> None:
    code = "import sys, webapp.serve; print('django' in sys.modules, 'celery' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"
