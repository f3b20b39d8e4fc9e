"""Workers killed in mid-analysis, brokers that forget, tasks that arrive twice: every analysis ends, once."""

from __future__ import annotations

import shutil
import signal
import time

import pytest
import redis

from diagnosis.models import Analysis, AuditEvent
from diagnosis.services import analyze, queue
from diagnosis.services.queue import send_analysis

from .conftest import LEASE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LONG = 120.0
"""Seconds a network thinks when its worker is to be killed meanwhile."""


def results(key) -> int:
    return AuditEvent.objects.filter(action="analysis_done", object_id=str(key)).count()


def test_a_worker_killed_in_mid_analysis_costs_nothing_but_time(workers, becomes, add_image):
    doomed = workers.start(seconds=LONG)
    key = add_image().newest_analysis_id
    becomes(key, "running")
    doomed.kill()
    doomed.wait()
    workers.start()
    analysis = becomes(key, "done", "failed", sweeping=True)
    assert (analysis.state, analysis.attempts, results(key)) == ("done", 2, 1)


def test_an_image_that_kills_every_worker_is_given_up_in_words(workers, becomes, add_image, monkeypatch):
    monkeypatch.setattr(analyze, "MAX_ATTEMPTS", 1)
    doomed = workers.start(seconds=LONG)
    key = add_image().newest_analysis_id
    becomes(key, "running")
    doomed.kill()
    doomed.wait()
    analysis = becomes(key, "failed", sweeping=True)
    assert analysis.failure == analyze.GAVE_UP


def test_a_worker_thought_dead_stores_nothing_when_it_wakes(workers, becomes, add_image):
    frozen = workers.start(seconds=3)
    key = add_image().newest_analysis_id
    becomes(key, "running")
    frozen.send_signal(signal.SIGSTOP)
    workers.start()
    analysis = becomes(key, "done", sweeping=True)
    frozen.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 30
    while "was taken over" not in workers.logs():
        assert time.monotonic() < deadline, workers.logs()
        time.sleep(0.2)
    after = Analysis.objects.get(pk=key)
    assert (after.claimed_by, after.finished_at) == (analysis.claimed_by, analysis.finished_at)
    assert results(key) == 1


def test_a_broker_that_restarts_empty_loses_nothing(workers, becomes, add_image, broker):
    keys = [add_image().newest_analysis_id for _ in range(3)]
    assert queue.waiting_messages() == 3
    broker.kill()
    broker.forget()
    broker.start()
    assert queue.waiting_messages() == 0
    workers.start()
    for key in keys:
        becomes(key, "done", sweeping=True)
        assert results(key) == 1


def test_a_broker_that_is_emptied_while_everyone_is_connected_loses_nothing(
    workers, becomes, add_image, broker
):
    key = add_image().newest_analysis_id
    redis.Redis(unix_socket_path=str(broker.socket)).flushall()
    workers.start()
    becomes(key, "done", sweeping=True)
    redis.Redis(unix_socket_path=str(broker.socket)).flushall()
    second = add_image().newest_analysis_id
    becomes(second, "done", sweeping=True)
    assert results(second) == 1


def test_a_worker_outlives_its_broker(workers, becomes, add_image, broker):
    workers.start()
    becomes(add_image().newest_analysis_id, "done")
    broker.kill()
    broker.forget()
    key = add_image().newest_analysis_id
    assert Analysis.objects.get(pk=key).sent_at is None
    broker.start()
    becomes(key, "done", sweeping=True)


def test_a_task_that_arrives_many_times_gives_one_result(workers, becomes, add_image):
    key = add_image().newest_analysis_id
    for _ in range(5):
        send_analysis(key)
    workers.start(seconds=0.5)
    workers.start(seconds=0.5)
    becomes(key, "done")
    deadline = time.monotonic() + 30
    while queue.waiting_messages():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(1)
    analysis = Analysis.objects.get(pk=key)
    assert (analysis.attempts, results(key)) == (1, 1)


def test_an_analysis_longer_than_its_lease_is_not_taken_away(workers, becomes, add_image):
    workers.start(seconds=2.5 * LEASE_SECONDS)
    workers.start(seconds=2.5 * LEASE_SECONDS)
    key = add_image().newest_analysis_id
    analysis = becomes(key, "done", sweeping=True)
    assert (analysis.attempts, results(key)) == (1, 1)


def test_without_its_bundle_it_waits_and_then_runs_by_itself(workers, becomes, add_image, version, bundles):
    """With the real clock and upkeep worker, as in service."""
    workers.start()
    workers.start("upkeep")
    workers.start_clock()
    shutil.move(bundles / "field-test", bundles.parent / "away")
    key = add_image().newest_analysis_id
    deadline = time.monotonic() + 30
    while (analysis := Analysis.objects.get(pk=key)).sent_at is not None:
        assert time.monotonic() < deadline, "the worker did not put it aside"
        time.sleep(0.1)
    assert (analysis.state, analysis.attempts) == ("queued", 0)
    time.sleep(12)  # a sweep passes
    analysis.refresh_from_db()
    assert (analysis.state, analysis.sent_at) == ("queued", None)
    shutil.move(bundles.parent / "away", bundles / "field-test")
    analysis = becomes(key, "done", patience=30)
    assert (analysis.attempts, results(key)) == (1, 1)
