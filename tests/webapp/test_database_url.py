"""DATABASE_URL: SQLite with the pragmas that bear several processes, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper
from pytest_django import DjangoDbBlocker

from webapp.database import parse_database_url
from webapp.env import EnvironmentProblem


def test_it_reads_every_part_of_a_postgresql_address() -> None:
    entry = parse_database_url("postgresql://l%40b:p%2Fw%3A@db.example:5433/leuko%20scope?sslmode=require")
    assert entry["ENGINE"] == "django.db.backends.postgresql"
    assert (entry["USER"], entry["PASSWORD"]) == ("l@b", "p/w:")
    assert (entry["HOST"], entry["PORT"], entry["NAME"]) == ("db.example", "5433", "leuko scope")
    assert entry["OPTIONS"] == {"sslmode": "require"}


def test_it_reads_a_postgresql_socket_folder() -> None:
    entry = parse_database_url("postgres://leukoscope@/lab?host=/run/postgresql")
    assert (entry["HOST"], entry["NAME"], entry["PORT"]) == ("/run/postgresql", "lab", "")
    assert entry["OPTIONS"] == {}


def test_it_reads_an_sqlite_address() -> None:
    assert parse_database_url("sqlite:////srv/lab.sqlite3")["NAME"] == "/srv/lab.sqlite3"
    assert parse_database_url("sqlite:///lab.sqlite3")["NAME"] == str(Path.cwd() / "lab.sqlite3")


@pytest.mark.parametrize(
    "url",
    ["mysql://a:hush@h/n", "postgresql://a:hush@h:port/n", "postgresql://a:hush@h/", "sqlite://hush", "hush"],
)
def test_it_refuses_anything_else_without_repeating_a_password(url: str) -> None:
    with pytest.raises(EnvironmentProblem, match="DATABASE_URL") as caught:
        parse_database_url(url)
    assert "hush" not in str(caught.value)


def _connection(path: Path) -> DatabaseWrapper:
    entry = parse_database_url(f"sqlite:///{path}")
    settings = {
        "TIME_ZONE": None,
        "CONN_MAX_AGE": 0,
        "AUTOCOMMIT": True,
        "CONN_HEALTH_CHECKS": False,
        "TEST": {},
    }
    return DatabaseWrapper({**settings, **entry})


@pytest.fixture(autouse=True)
def _own_connections(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """These tests open databases of their own, which pytest-django would not let them."""
    with django_db_blocker.unblock():
        yield


def test_sqlite_runs_in_wal_mode_with_normal_synchronisation(tmp_path: Path) -> None:
    connection = _connection(tmp_path / "db.sqlite3")
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert cursor.execute("PRAGMA synchronous").fetchone() == (1,)
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)
    connection.close()


def test_two_writers_wait_for_each_other_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as setup:
        setup.execute("CREATE TABLE tally (n INTEGER)")
        setup.execute("INSERT INTO tally VALUES (0)")
        setup.commit()
    failures: list[Exception] = []

    def count_up() -> None:
        connection = _connection(path)
        connection.inc_thread_sharing()
        try:
            for _ in range(25):
                connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
                with connection.cursor() as cursor:
                    (n,) = cursor.execute("SELECT n FROM tally").fetchone()
                    cursor.execute("UPDATE tally SET n = %s", [n + 1])
                connection.commit()
                connection.set_autocommit(True)
        except Exception as error:  # noqa: BLE001  (a thread's failure must reach the assertion)
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(sqlite3.connect(path)) as result:
        assert result.execute("SELECT n FROM tally").fetchone() == (75,)
