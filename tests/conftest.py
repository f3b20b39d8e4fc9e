"""Fixtures that every room shares, and the rule about skipped tests.

A test that needs something this machine lacks is skipped, and the end of the run says in a line what was
missing. In CI (``CI=true``) with the data at hand, nothing may be missing: a skipped test fails the run
there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import Broker, PostgresCluster, postgres_programs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from ml.bundle import Bundle
    from ml.data.manifest import Manifest
    from ml.data.splits import Split

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

_skipped: Counter[str] = Counter()


# --- what a test may need -----------------------------------------------------------------------------------


def _folder_named_by(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value).resolve() if value and Path(value).is_dir() else None


def chromium_path() -> str | None:
    """Return the machine's Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing(need: str) -> str | None:
    """Return why a test marked ``need`` cannot run here, or None when it can."""
    if need == "data" and _folder_named_by("LEUKOSCOPE_DATA") is None:
        return "LEUKOSCOPE_DATA names no folder with the public smear data"
    if need == "weights" and _folder_named_by("LEUKOSCOPE_WEIGHTS") is None:
        return "LEUKOSCOPE_WEIGHTS names no folder with the ImageNet weights"
    if need == "browser" and chromium_path() is None:
        return "Chromium is not installed"
    if need == "postgres" and postgres_programs() is None:
        return "PostgreSQL's server is not installed"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose need is not met."""
    for need in ("data", "weights", "browser", "postgres"):
        reason = missing(need) if item.get_closest_marker(need) else None
        if reason:
            pytest.skip(reason)


# --- skipped tests ------------------------------------------------------------------------------------------


def skips_are_failures() -> bool:
    """Return whether this is CI with everything at hand, where no test may be left out."""
    in_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    return in_ci and bool(os.environ.get("LEUKOSCOPE_DATA"))


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped[text.removeprefix("Skipped: ")] += 1


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a skipped test by its reason."""
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Count a module that was skipped as a whole."""
    _note_skip(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run for a skipped test where none is allowed."""
    if _skipped and skips_are_failures() and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line each what was left out, and why."""
    for reason, count in _skipped.most_common():
        tests = "test was" if count == 1 else "tests were"
        terminalreporter.write_line(f"{count} {tests} skipped: {reason}")
    if _skipped and skips_are_failures():
        terminalreporter.write_line(
            "No test may be skipped here (CI with LEUKOSCOPE_DATA): the run fails.", red=True
        )


# --- fixtures -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of this run: that of LEUKOSCOPE_CACHE, or a new one, and never the one in someone's home."""
    given = os.environ.get("LEUKOSCOPE_CACHE")
    if given:
        yield Path(given)
        return
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LEUKOSCOPE_CACHE"] = str(folder)
    yield folder
    del os.environ["LEUKOSCOPE_CACHE"]


@pytest.fixture(autouse=True, scope="session")
def tables_can_be_emptied() -> Iterator[None]:
    """The tables of a test with real transactions are emptied after it, which the audit's triggers refuse: so they
    are taken away for that long.
    """
    from django.db import connection
    from django.test import TransactionTestCase

    empty = TransactionTestCase._fixture_teardown

    def without_triggers(test: TransactionTestCase) -> None:
        from diagnosis.services import audit_triggers

        audit_triggers.remove(connection)
        try:
            empty(test)
        finally:
            audit_triggers.install(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", without_triggers)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the public smear data (taleqani-all, demo-fields, ...)."""
    folder = _folder_named_by("LEUKOSCOPE_DATA")
    if folder is None:
        pytest.skip(missing("data") or "")
    return folder


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder with the ImageNet weights of DenseNet-121."""
    folder = _folder_named_by("LEUKOSCOPE_WEIGHTS")
    if folder is None:
        pytest.skip(missing("weights") or "")
    return folder


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder with a short path: a Unix socket's may have no more than about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix="lk-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(short_tmp: Path) -> Iterator[Broker]:
    """A real broker of this test's own, already answering."""
    server = Broker(short_tmp / "broker")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """DATABASE_URL of a real, empty PostgreSQL."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip(missing("postgres") or "")
    folder = Path(tempfile.mkdtemp(prefix="lk-pg-"))
    folder.chmod(0o755)
    cluster = PostgresCluster(folder, programs)
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running headless Chromium (Playwright's synchronous interface)."""
    path = chromium_path()
    if path is None:
        pytest.skip(missing("browser") or "")
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, which Django takes for asynchronous code of ours.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
    else:
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture(scope="session")
def drawn_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Manifest, Split]:
    """A small bundle trained on drawn classes, its fields and their split; made once, in a minute or two."""
    from tests.drawn_bundle import train_drawn_bundle

    return train_drawn_bundle(tmp_path_factory.mktemp("drawn"))
