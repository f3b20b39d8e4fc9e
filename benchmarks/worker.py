"""A real worker process: from its start to the first result, its memory, and the memory of the web process.

Each round queues one field while no worker runs, starts one by the command line the supervisor uses, and
waits for the analysis to end. The worker then analyses the other fields, and its memory is read.
"""

from __future__ import annotations

import argparse
import os
import statistics
from io import BytesIO
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil

from benchmarks.fields import as_jpeg, drawn_fields
from benchmarks.installation import Browser, Installation, loaded_libraries, megabytes, stop, wait_until
from benchmarks.measuring import Figure, Report, at_most
from webapp.processes import worker_command

ROUNDS = 5
HEAVY = ("tensorflow", "openvino")


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    report = Report(f"Worker and web process ({options.bundle.name})")
    with Installation(options.bundle) as place:
        place.prepare()
        with place.broker():
            _measure_worker(place, report, max(options.repeats, ROUNDS + 1))
    with Installation(options.bundle) as place, place.serving() as (address, supervisor):
        _measure_web(place, address, supervisor, report)
    return report


def _measure_worker(place: Installation, report: Report, analyses: int) -> None:
    queue = _Queue(place)
    starts: list[float] = []
    fields = [as_jpeg(pixels) for pixels in drawn_fields(analyses)]
    memory = peak = 0.0
    for number in range(ROUNDS):
        last = number == ROUNDS - 1
        first = queue.add(fields.pop())
        began = perf_counter()
        worker = place.start(worker_command("analysis"))
        try:
            wait_until(lambda key=first: queue.ended(key), "the worker gave no result", pause=0.005)
            starts.append(perf_counter() - began)
            if last:
                for key in [queue.add(field) for field in fields]:
                    wait_until(lambda key=key: queue.ended(key), "the worker gave no result")
                process = psutil.Process(worker.pid)
                memory, peak = megabytes(process), _peak(process)
        finally:
            stop(worker)
    report.figures.append(at_most("worker, from start to first result", starts, "s", 3))
    report.figures.append(at_most(f"worker memory after {len(fields) + 1} analyses", [memory], "MB", 600))
    if peak:
        report.figures.append(at_most("  at its highest", [peak], "MB", 600))
    report.figures.append(at_most("analysis in the worker", queue.durations(), "ms"))


class _Queue:
    """Queues images into the installation's database as the web process does, and sees what became of
    them.
    """

    def __init__(self, place: Installation) -> None:
        os.environ.update(place.environment)
        os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        import django

        import webapp.celery  # noqa: F401 - tasks are sent through this application

        django.setup()
        from diagnosis.models import Analysis, User
        from diagnosis.services import intake

        self._analyses: Any = Analysis.objects
        self._intake = intake
        self._user = User.objects.get(is_superuser=True)
        self._case = intake.create_case(user=self._user, accession_number="BENCH-1", patient_code="BENCH")

    def add(self, content: bytes) -> Any:
        image: Any = self._intake.add_image(
            user=self._user, case=self._case, name="field.jpg", stream=BytesIO(content), is_drawn=True
        )
        return image.newest_analysis.pk

    def ended(self, key: Any) -> bool:
        state = self._analyses.values_list("state", flat=True).get(pk=key)
        if state == "failed":
            raise RuntimeError(self._analyses.get(pk=key).failure)
        return bool(state == "done")

    def durations(self) -> list[float]:
        """Milliseconds each analysis took inside the worker, reading to previews."""
        return [float(timings["total"]) for timings in self._analyses.values_list("timings_ms", flat=True)]


def _peak(process: psutil.Process) -> float:
    """Highest resident memory so far in MB; 0 where the system doesn't say."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _measure_web(place: Installation, address: str, supervisor: int, report: Report) -> None:
    browser = Browser(address)
    browser.log_in("admin", place.password)
    for _ in range(10):  # every web worker has served a page
        browser.get("/")
    sleep(1)
    web = [
        p for p in psutil.Process(supervisor).children(recursive=True) if "gunicorn" in " ".join(p.cmdline())
    ]
    report.figures.append(at_most("largest web process at rest", [max(megabytes(p) for p in web)], "MB", 150))
    unshared = [p.memory_full_info().uss / 2**20 for p in web]
    report.figures.append(at_most("  memory of its own (not shared)", [statistics.median(unshared)], "MB"))
    found = sorted({name for process in web for name in loaded_libraries(process, HEAVY)})
    report.figures.append(
        Figure("heavy libraries in web processes", len(found), wanted="none", met=not found)
    )
    if found:
        report.notes.append(f"Loaded in a web process: {', '.join(found)}.")
