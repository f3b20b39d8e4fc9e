"""What the web process may load: no runtime, no training library, whatever page is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
import webapp.wsgi
import webapp.urls, diagnosis.urls
import diagnosis.services.intake, diagnosis.services.analyze, diagnosis.services.registry, diagnosis.tasks
import ml.bundle  # what looking at a bundle's files loads
from diagnosis.services import proposals
proposals._drift([1.0] * 60, 20, 0.1, 0.03)  # what the models page works out
import diagnosis.services.sites, ml.evaluation.acceptance  # what the pages of sites ask
from diagnosis.services import report_text, reporting
report_text.printable("ä")  # reads the fonts in matplotlib's wheel
heavy = ("tensorflow", "keras", "openvino", "onnx", "sklearn", "scipy", "matplotlib")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def test_pages_services_and_tasks_load_neither_runtimes_nor_training():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
