"""The sweep: what a broker or a worker lost comes back; what nothing points to goes."""

from __future__ import annotations

import os
import shutil
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from diagnosis.models import Analysis, AuditEvent, Case
from diagnosis.services import analyze, audit_verification, registry, upkeep
from diagnosis.services.upkeep import Swept
from diagnosis.tasks import verify_audit

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker(monkeypatch):
    """A broker that takes everything; `waiting` is what it says of its queue (None: it is away)."""

    class FakeBroker:
        waiting: int | None = 0
        sent: list

        def __init__(self) -> None:
            self.sent = []

        def send(self, pk) -> bool:
            self.sent.append(pk)
            Analysis.objects.filter(pk=pk).update(sent_at=timezone.now())
            return True

    fake = FakeBroker()
    monkeypatch.setattr("diagnosis.services.queue.send_analysis", fake.send)
    monkeypatch.setattr("diagnosis.services.queue.waiting_messages", lambda: fake.waiting)
    return fake


def ago(seconds: float):
    return timezone.now() - timedelta(seconds=seconds)


def set_analysis(image, **values) -> None:
    Analysis.objects.filter(pk=image.newest_analysis_id).update(**values)


def state(image) -> str:
    return Analysis.objects.get(pk=image.newest_analysis_id).state


@pytest.mark.parametrize(
    ("queued", "sent", "waiting", "is_sent"),
    [
        (10, None, 0, True),  # never reached the broker
        (10, None, 7, True),
        (1, None, 0, False),  # its own commit sends it
        (10, 10, 0, True),  # the broker forgot it
        (10, 10, 7, False),  # waits its turn
        (10, 2, 0, False),  # a worker is just taking it
        (400, 400, 7, True),  # too long, although others wait
        (10, 10, None, False),  # the broker is away
    ],
)
def test_what_no_message_stands_for_is_sent(image, version, broker, queued, sent, waiting, is_sent):
    set_analysis(image, queued_at=ago(queued), sent_at=None if sent is None else ago(sent))
    broker.waiting = waiting
    assert upkeep.sweep() == Swept(sent=int(is_sent))
    assert broker.sent == ([image.newest_analysis_id] if is_sent else [])


def test_a_finished_analysis_is_left_alone(image, judge, broker):
    judge(image)
    set_analysis(image, queued_at=ago(1000), sent_at=ago(1000))
    assert upkeep.sweep() == Swept()


def test_the_analysis_of_a_dead_worker_is_taken_back_and_sent(image, version, broker):
    set_analysis(
        image, state="running", claimed_by="dead", attempts=1, lease_expires_at=ago(1), queued_at=ago(60)
    )
    assert upkeep.sweep() == Swept(requeued=1, sent=1)
    assert state(image) == "queued"


def test_a_worker_that_renews_its_lease_is_left_alone(image, version, broker):
    set_analysis(
        image,
        state="running",
        claimed_by="alive",
        attempts=1,
        lease_expires_at=ago(-20),
        queued_at=ago(6000),
        sent_at=ago(6000),
    )
    assert upkeep.sweep() == Swept()
    assert state(image) == "running"


def test_what_stopped_three_workers_is_given_up_in_words(image, version, broker):
    set_analysis(
        image, state="running", claimed_by="dead", attempts=analyze.MAX_ATTEMPTS, lease_expires_at=ago(1)
    )
    assert upkeep.sweep() == Swept(failed=1)
    analysis = Analysis.objects.get(pk=image.newest_analysis_id)
    assert (analysis.state, analysis.failure) == ("failed", analyze.GAVE_UP)
    assert AuditEvent.objects.filter(action="analysis_failed").count() == 1


def test_a_worker_that_renews_its_lease_during_the_sweep_is_left_alone(image, version, broker, monkeypatch):
    set_analysis(
        image, state="running", claimed_by="slow", attempts=analyze.MAX_ATTEMPTS, lease_expires_at=ago(1)
    )
    fail = analyze.fail

    def renewed_just_before(**values):
        set_analysis(image, lease_expires_at=ago(-30))
        return fail(**values)

    monkeypatch.setattr("diagnosis.services.analyze.fail", renewed_just_before)
    assert upkeep.sweep() == Swept()
    assert state(image) == "running"


def test_while_the_bundle_is_missing_nothing_is_sent(image, version, bundles, broker):
    set_analysis(image, queued_at=ago(60))
    shutil.move(bundles / "field-test", bundles.parent / "away")
    assert upkeep.sweep() == Swept()
    shutil.move(bundles.parent / "away", bundles / "field-test")
    assert upkeep.sweep() == Swept(sent=1)


def test_a_bundle_that_comes_later_is_registered_and_used(image, bundles, broker):
    set_analysis(image, queued_at=ago(60))
    assert upkeep.sweep() == Swept(sent=1)
    assert registry.active_version().name == "field-test"


def test_a_model_that_could_not_be_loaded_is_tried_with_one(image, add_image, version, broker):
    set_analysis(image, queued_at=ago(60))
    set_analysis(add_image(), queued_at=ago(50))
    registry.record_problem(version=version, problem="The graph can't be loaded.")
    upkeep.sweep()
    assert broker.sent == [image.newest_analysis_id]


def test_the_oldest_go_first(image, add_image, version, broker):
    younger = add_image()
    set_analysis(image, queued_at=ago(50))
    set_analysis(younger, queued_at=ago(60))
    upkeep.sweep()
    assert broker.sent == [younger.newest_analysis_id, image.newest_analysis_id]


# --- files no row points to


def make_file(media, name: str, age_days: float):
    path = media / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    then = time.time() - age_days * 86_400
    os.utime(path, (then, then))
    return path


def test_old_files_that_nothing_points_to_are_removed(image, judge, media):
    judge(image)
    for path in list(media.rglob("*")):
        if path.is_file():
            os.utime(path, (0, 0))
    orphan = make_file(media, "images/aa/bb/aabb", 2)
    small = make_file(media, "thumbnails/aa/bb/aabb.jpg", 2)
    part = make_file(media, "incoming/x.part", 2)
    foreign = make_file(media, "notes/ours.txt", 2)
    young = make_file(media, "images/aa/cc/aacc", 0.5)
    assert upkeep.remove_orphans() == 3
    assert not orphan.exists()
    assert not small.exists()
    assert not part.exists()
    assert foreign.exists()
    assert young.exists()
    image.refresh_from_db()
    for name in (image.file.name, image.thumbnail.name, image.newest_analysis.processed.name):
        assert (media / name).exists()


def test_a_file_stored_anew_is_not_removed(media):
    orphan = make_file(media, "images/aa/bb/aabb", 2)
    before = time.time() - 86_400
    os.utime(orphan)
    assert upkeep._remove_if_old(orphan, before) is False
    assert orphan.exists()


def test_storing_content_again_makes_its_file_young(image, add_image, media, cast, case):
    from django.core.files.base import ContentFile

    from diagnosis.storage import smear_storage

    path = media / image.file.name
    os.utime(path, (0, 0))
    smear_storage().save(image.file.name, ContentFile(path.read_bytes()))
    assert time.time() - path.stat().st_mtime < 60


def test_a_long_verification_does_not_keep_sweeps_and_webhooks_waiting(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("sweep")
        raise RuntimeError("the broker fell over")

    monkeypatch.setattr(upkeep, "sweep", fail)
    monkeypatch.setattr(upkeep.webhook_delivery, "deliver", lambda: done.append("deliver"))
    verify_audit()
    assert done == []  # a short one is over before a round is due
    monkeypatch.setattr(upkeep, "A_ROUND_SECONDS", 0.0)
    monkeypatch.setattr(audit_verification, "A_BATCH", 1)
    monkeypatch.setattr(audit_verification, "A_DAY", timedelta(0))
    verify_audit()
    assert done[:2] == ["sweep", "deliver"]
    assert len(done) >= 2 * AuditEvent.objects.filter(sequence__isnull=False).count() - 2
    assert [event.detail["whole"] for event in AuditEvent.objects.filter(action="verify_audit")] == [
        True,
        True,
    ]
