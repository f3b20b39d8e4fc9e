"""What the web process loads and how it starts: no model runtime, ever."""

from __future__ import annotations

import subprocess
import sys

from tests.webapp.fresh import fresh_process

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
    loaded = set(fresh_process(CODE))
    assert "diagnosis" in loaded
    assert loaded.isdisjoint(FORBIDDEN)


WARM = """
import json, sys
import webapp.wsgi
from django.db import connections
from django.template import engines
before = set(sys.modules)
from django.urls import reverse
reverse("diagnosis:worklist")
compiled = engines["django"].engine.template_loaders[0].get_template_cache
print(json.dumps({
    "more": sorted(name for name in set(sys.modules) - before if name.split(".")[0] in ("diagnosis", "ml", "webapp")),
    "compiled": sorted(str(key) for key in compiled),
    "connected": [one.connection is not None for one in connections.all()],
}))
"""


def test_workers_are_forked_warm_and_without_a_connection() -> None:
    """What a worker's first request would load is there before the fork; a database's connection is not."""
    told = fresh_process(WARM)
    assert told["more"] == []
    assert {"diagnosis/base.html", "diagnosis/case.html", "diagnosis/cells.html"} <= set(told["compiled"])
    assert not any(told["connected"])


def test_the_supervisor_stays_free_of_django_and_celery() -> None:
    code = "import sys, webapp.serve; print('django' in sys.modules, 'celery' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"
