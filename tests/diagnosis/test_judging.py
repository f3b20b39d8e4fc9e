"""Judging by a worker: asked for once, claimed once, given up when its process dies, sent again when lost."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from diagnosis import tasks
from diagnosis.models import AuditEvent, Judgement
from diagnosis.services import judging, promotion, upkeep
from diagnosis.services.promotion import PromotionImpossible

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch):
    """What would have gone to the broker."""
    keys = []
    monkeypatch.setattr("diagnosis.services.queue.send_judgement", lambda key: keys.append(key) or True)
    return keys


def test_a_request_is_sent_once_and_two_clicks_give_one(versions, sent, django_capture_on_commit_callbacks):
    version = versions.add("field-2")
    with django_capture_on_commit_callbacks(execute=True):
        first = judging.request(version=version, actor=None)
        second = judging.request(version=version, actor=None)
    assert first == second
    assert sent == [first.pk]
    assert (first.state, first.against.name) == ("queued", "field-1")


def test_the_task_judges_and_keeps_the_verdict(versions, cast):
    version = versions.worse()
    key = judging.request(version=version, actor=cast.administrator).pk
    tasks.judge_version(str(key))
    judgement = Judgement.objects.get(pk=key)
    assert (judgement.state, judgement.verdict["passed"], judgement.progress) == ("done", False, {})
    event = AuditEvent.objects.get(action="judge_model")
    assert (event.actor, event.detail["passed"]) == (cast.administrator, False)


def test_a_task_that_arrives_twice_judges_once(versions):
    key = judging.request(version=versions.add("field-2"), actor=None).pk
    assert judging.run(judgement_id=key) is True
    finished = Judgement.objects.get(pk=key).finished_at
    assert judging.run(judgement_id=key) is False
    assert Judgement.objects.get(pk=key).finished_at == finished


def test_progress_is_written_to_the_row(versions, monkeypatch):
    monkeypatch.setattr(judging, "WRITE_EVERY", 0.0)
    version = versions.add("field-2")
    for file in versions.memory.iterdir():
        file.unlink()  # nothing is remembered: the images are judged, and none of them can be read
    seen = []

    def track(things, total, description):
        for thing in things:
            yield thing
            seen.append(Judgement.objects.get().progress)

    judgement = judging.judge_now(version=version, actor=None, track=track)
    assert {"done": 5, "total": 160, "words": "Judging with field-2"} in seen
    assert judgement.state == "done"
    assert judgement.verdict["n"] == 0  # what cannot be read proves nothing


@pytest.mark.parametrize("place", [None, "empty"])
def test_without_data_a_verdict_says_that_nothing_is_proven(versions, settings, tmp_path, place):
    """So that a promotion by force, which keeps the verdict, needs no data."""
    (tmp_path / "empty").mkdir()
    settings.LEUKOSCOPE_DATA = place and tmp_path / place
    done = judging.judge_now(version=versions.add("field-2"), actor=None)
    assert (done.verdict["n"], done.verdict["passed"]) == (0, False)


def test_damaged_files_become_a_sentence(versions):
    version = versions.add("field-2")
    (versions.own / "field-2" / "model.onnx").write_bytes(b"damage")
    failed = judging.judge_now(version=version, actor=None)
    assert (failed.state, failed.failure) == (
        "failed",
        "The model field-2 is damaged: model.onnx has changed.",
    )


def test_an_error_nobody_foresaw_ends_the_judgement_in_words_and_reaches_the_log(versions, monkeypatch):
    monkeypatch.setattr("ml.promotion.compare", lambda *args, **options: 1 / 0)
    version = versions.add("field-2")
    with pytest.raises(ZeroDivisionError):
        judging.judge_now(version=version, actor=None)
    assert Judgement.objects.get().failure == judging.UNEXPECTED


def test_two_at_once_are_refused_and_a_dead_one_is_taken_over(versions):
    version = versions.add("field-2")
    running = judging.request(version=version, actor=None)
    Judgement.objects.update(state="running", claimed_by="another", beat_at=timezone.now())
    with pytest.raises(PromotionImpossible, match="being judged already"):
        promotion.promote(version=version, actor=None, data=[])
    Judgement.objects.update(beat_at=timezone.now() - judging.SILENT_AFTER - timedelta(seconds=1))
    promotion.promote(version=version, actor=None, data=[])
    running.refresh_from_db()
    assert (running.state, running.failure) == ("failed", judging.GAVE_UP)


@pytest.mark.django_db(transaction=True)
def test_a_silent_judgement_shows_that_it_is_alive(versions, monkeypatch):
    """Hashing and the bootstrap report nothing, and may take longer than a judgement may be silent."""
    monkeypatch.setattr(judging, "BEAT_EVERY", 0.05)
    key = judging.request(version=versions.add("field-2"), actor=None).pk
    old = timezone.now() - timedelta(hours=1)

    def silent(*args):
        Judgement.objects.update(beat_at=old)
        deadline = time.monotonic() + 10
        while Judgement.objects.get(pk=key).beat_at == old:
            assert time.monotonic() < deadline, "nothing told that it was alive"
            time.sleep(0.02)
        raise judging._Impossible("enough")

    monkeypatch.setattr(judging, "_judge", silent)
    assert judging.run(judgement_id=key) is True


def test_the_command_takes_over_what_waits_for_a_worker(versions):
    version = versions.add("field-2")
    waiting = judging.request(version=version, actor=None)
    assert judging.judge_now(version=version, actor=None) == waiting


def test_a_worker_thought_dead_stores_nothing_when_it_wakes(versions, monkeypatch):
    version = versions.add("field-2")
    key = judging.request(version=version, actor=None).pk
    real = judging._judge

    def slow(*args):
        verdict = real(*args)
        Judgement.objects.update(beat_at=timezone.now() - timedelta(hours=1))
        judging.give_up_silent()
        return verdict

    monkeypatch.setattr(judging, "_judge", slow)
    assert judging.run(judgement_id=key) is False
    assert Judgement.objects.get(pk=key).failure == judging.GAVE_UP


def test_the_sweep_gives_up_the_silent_and_sends_the_lost(versions, sent):
    lost, silent = (
        Judgement.objects.create(version=versions.add(name), state=state)
        for name, state in (("field-2", "queued"), ("field-3", "running"))
    )
    Judgement.objects.filter(pk=silent.pk).update(beat_at=timezone.now() - timedelta(minutes=5))
    upkeep.sweep()
    assert sent == [lost.pk]
    silent.refresh_from_db()
    assert silent.state == "failed"


def test_a_folder_of_data_sets_is_looked_through_and_a_broken_one_left_out(versions, settings):
    broken = settings.LEUKOSCOPE_DATA / "broken"
    broken.mkdir()
    (broken / "index.csv").write_text("nothing,here\n")
    assert judging.judge_now(version=versions.add("field-2"), actor=None).verdict["passed"]
