"""Server time and queries of every page over a large archive: 100,000 cases with 1,000,000 analyses in PostgreSQL.

The archive is drawn (`manage.py seed_archive`) into a PostgreSQL of the benchmark's own, or `--database` names one that
holds it. Each page is asked for many times, each time with other filters, pages and cases, by a laboratory head. Beside
the time by the clock stands the processor time of the request, its database included, which other work on the machine
does not lengthen: queries run in one process of the database.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import shutil
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.measuring import Figure, Report, machine

WANTED_MS = 100.0
WARM_UP = 2
BLIND = ("worklist", "worklist, tabs", "history", "history, outcome", "history, words of notes and comments", "case",
         "case to be read", "sign-out", "audit")  # fmt: skip
"""Pages that tell a reader less while her laboratory reads blind."""


class Asked(NamedTuple):
    """One request: its path with query, and the headers it needs."""

    path: str
    headers: dict[str, str] = {}


class Measured(NamedTuple):
    """Milliseconds by the clock and of processors, and the number of queries."""

    clock: float
    busy: float
    queries: int


def run(options: argparse.Namespace) -> Report:
    """The benchmark as the command line asks for it."""
    with tempfile.TemporaryDirectory(prefix="lk-bench-") as scratch, _database(options.database) as url:
        os.environ |= {
            "DATABASE_URL": url,
            # The audit of a database that is there goes on with the key of its own installation alone.
            **({} if options.database else {"LEUKOSCOPE_VAR": f"{scratch}/var"}),
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "PGOPTIONS": "-c max_parallel_workers_per_gather=0",
        }
        import django

        django.setup()
        return _measured(options)


@contextmanager
def _database(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    from tests.servers import PostgresCluster, postgres_programs

    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL's server is not installed: pages cannot be measured at scale.")
    folder = Path(tempfile.mkdtemp(prefix="lk-pages-"))
    folder.chmod(0o755)
    cluster = PostgresCluster(folder, programs)
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(options: argparse.Namespace) -> Report:
    from django.core.management import call_command
    from django.test import Client

    from diagnosis.models import Analysis, Case, User
    from diagnosis.services import archive

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    if not User.objects.filter(laboratory__slug=archive.SLUG).exists():
        call_command("seed_archive", cases=options.cases)
    import webapp.wsgi  # noqa: F401  # warm, as the process that serves pages is

    user = User.objects.get(username=f"{archive.SLUG}-head")
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    client.force_login(user, "diagnosis.backends.AccountBackend")
    cases, analyses = Case.objects.count(), Analysis.objects.count()
    report = Report(f"Pages over {cases:,} cases with {analyses:,} analyses in PostgreSQL")
    rng = random.Random(7)
    asked = pages(user, rng)
    for name, ask in asked.items():
        _measure(report, name, client, ask, options.repeats)
    laboratory = user.laboratory
    before, laboratory.is_blind = laboratory.is_blind, True
    laboratory.save()
    try:
        for name in BLIND:
            _measure(report, f"{name}, reading blind", client, asked[name], options.repeats)
    finally:
        laboratory.is_blind = before
        laboratory.save()
    late = [one.name for one in report.figures if one.met is False]
    report.notes += [
        f"Median, then the 50th to the 95th percentile, of {options.repeats} requests; load {machine()['load'][0]}.",
        f"Over {WANTED_MS:g} ms at the 95th percentile: {', '.join(late) or 'none'}.",
    ]
    return report


def _measure(report: Report, name: str, client: Any, ask: Callable[[], Asked], repeats: int) -> None:
    try:
        found = [_once(client, ask()) for _ in range(repeats + WARM_UP)][WARM_UP:]
    except RuntimeError as failed:
        report.notes.append(f"Not measured: {name}. {failed}")
        return
    print(f"{name}: at most {max(one.clock for one in found):.0f} ms", file=sys.stderr, flush=True)
    report.figures += [
        _percentiles(name, [one.clock for one in found], "ms"),
        _percentiles(f"{name}, processor", [one.busy for one in found], "ms"),
        _queries(name, [one.queries for one in found]),
    ]


def _percentiles(name: str, values: list[float], unit: str) -> Figure:
    middle = statistics.median(values)
    high = statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else middle
    wanted = f"at most {WANTED_MS:g} {unit} at the 95th percentile"
    return Figure(name, middle, unit, middle, high, len(values), wanted, high <= WANTED_MS)


def _queries(name: str, counts: list[int]) -> Figure:
    return Figure(f"{name}, queries", statistics.median(counts), "", min(counts), max(counts), len(counts))


def _once(client: Any, asked: Asked) -> Measured:
    """One request, timed; then the same again with its queries counted."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    connection.ensure_connection()
    database = connection.connection.info.backend_pid
    before, began = _busy(database), perf_counter()
    answer = client.get(asked.path, headers=asked.headers)
    clock = 1000 * (perf_counter() - began)
    busy = _busy(database) - before
    if answer.status_code != 200:
        raise RuntimeError(f"{asked.path} answered {answer.status_code}: {answer.content[:300]!r}")
    with CaptureQueriesContext(connection) as queries:
        client.get(asked.path, headers=asked.headers)
    return Measured(clock, busy, len(queries))


def _busy(database: int) -> float:
    """Milliseconds that this thread and the database's process for it have been on a processor."""
    return sum(
        int(Path(f"/proc/{place}/schedstat").read_text().split()[0]) / 1e6
        for place in ("thread-self", database)
    )


def pages(user: Any, rng: random.Random) -> dict[str, Callable[[], Asked]]:
    """The pages by name, each with what draws its next request."""
    from urllib.parse import urlencode

    from django.urls import reverse

    from diagnosis.models import Case, ModelVersion, Site, SmearImage, User
    from diagnosis.services import api_tokens

    sample = list(
        Case.objects.filter(laboratory=user.laboratory).order_by("pk").values_list("pk", "accession_number")
    )
    unsigned = list(
        Case.objects.filter(laboratory=user.laboratory, status=Case.Status.PRELIMINARY).values_list(
            "pk", flat=True
        )
    )
    readers = list(User.objects.filter(laboratory=user.laboratory).values_list("pk", flat=True))
    versions = list(
        ModelVersion.objects.filter(laboratory=user.laboratory, task="field").values_list("pk", flat=True)
    )
    sites = list(Site.objects.filter(laboratory=user.laboratory).values_list("pk", flat=True))
    _, key = api_tokens.create(
        actor=None,
        user=user,
        name=f"benchmark {uuid.uuid4().hex[:8]}",
        scopes=["cases:read", "results:read"],
        days=1,
    )
    token = {"Authorization": f"Bearer {key}"}

    def page(name: str, *args: Any, **query: Any) -> Asked:
        return Asked(f"{reverse(f'diagnosis:{name}', args=args)}?{urlencode(query)}")

    def any_case() -> int:
        return rng.choice(sample)[0]

    def image() -> Any:
        return SmearImage.objects.filter(case=any_case()).values_list("pk", flat=True)[0]

    def days() -> dict[str, str]:
        since = datetime.date.today() - datetime.timedelta(days=rng.randrange(30, 1000))
        until = since + datetime.timedelta(days=rng.choice((1, 7, 90)))
        return {"since": since.isoformat(), "until": until.isoformat()}

    def accession() -> str:
        return rng.choice(sample)[1]

    one_of = rng.choice
    sorts = ("accession", "-accession", "patient", "-patient", "received", "-received")
    history: dict[str, Callable[[], dict[str, Any]]] = {
        "": dict,
        "deep pages": lambda: {"page": rng.randrange(1, len(sample) // 25)},
        "sorts": lambda: {"sort": one_of(sorts), "page": rng.randrange(1, 20)},
        "accession": lambda: {"q": accession()},
        "part of an accession": lambda: {"q": accession()[: rng.randrange(4, 9)]},
        "patient": lambda: {"q": f"P-{rng.randrange(len(sample)):06d}"},
        "words of notes and comments": lambda: {"q": one_of(("petechiae", "pancytopenia", "vacuoles", "auer rods"))},
        "words of conclusions": lambda: {"q": one_of(("immunophenotyping", f"drawn {rng.randrange(len(sample)):06d}"))},
        "words, dates and status": lambda: {
            "q": one_of(("petechiae", "pancytopenia", accession()[:5], "P-0")),
            **one_of((days(), {"until": days()["until"]}, {"status": one_of(("final", "preliminary"))})),
        },
        "two letters": lambda: {"q": one_of(("14", "re", "P-", "zz"))},
        "dates": days,
        "status": lambda: {"status": one_of(("preliminary", "final", "amended"))},
        "outcome": lambda: {"outcome": one_of(("suspected", "class", "indeterminate", "failed", "unfinished"))},
        "class": lambda: {"label": one_of(("benign", "early", "pre", "pro", "other"))},
        "reader": lambda: {"reviewer": one_of(readers)},
        "reading": lambda: {"reading": one_of(("unread", "disagreement", "disputed"))},
        "model": lambda: {"version": one_of(versions)},
        "several": lambda: {"label": one_of(("early", "pro")), "reading": "disagreement", "reviewer": one_of(readers),
                            **one_of((days(), {}))},
    }  # fmt: skip
    shows = ("unread", "unsigned", "suspected", "disputed", "unfinished", "asked", "all")
    worklist: dict[str, Callable[[], dict[str, Any]]] = {
        "": dict,
        "tabs": lambda: {"show": one_of(shows)},
        "filters": lambda: one_of(({"reader": "mine"}, {"reader": "nobody"}, {"site": one_of(sites)}, {"late": "on"},
                                   {"specimen": "marrow"}, {"status": "final"})),
        "deep pages of all": lambda: {"show": "all", "page": rng.randrange(1, len(sample) // 30)},
    }  # fmt: skip

    def drawn(view: str, draw: Callable[[], dict[str, Any]]) -> Callable[[], Asked]:
        return lambda: page(view, **draw())

    found: dict[str, Callable[[], Asked]] = {}
    for name, draw in worklist.items():
        found[f"worklist, {name}" if name else "worklist"] = drawn("worklist", draw)
    for name, draw in history.items():
        found[f"history, {name}" if name else "history"] = drawn("history", draw)
    return found | {
        "case": lambda: page("case", any_case()),
        "case to be read": lambda: page("case", one_of(unsigned)),
        "sign-out": lambda: page("sign-out", one_of(unsigned)),
        "cells": lambda: page("cells", any_case()),
        "compare": lambda: page("compare", image()),
        "audit": lambda: page("audit"),
        "models": lambda: page("models"),
        "sites": lambda: page("sites"),
        "site": lambda: page("site", one_of(sites)),
        "quality": lambda: page("quality"),
        "API, cases": lambda: Asked(f"/api/v1/cases?limit={one_of((25, 50))}", token),
        "API, a case": lambda: Asked(f"/api/v1/cases/{any_case()}", token),
        "API, results": lambda: Asked(f"/api/v1/cases/{any_case()}/results", token),
    }
