"""Two promotions at once, on a real database with real transactions: one comes first, the other is told so."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from diagnosis.models import AuditEvent, ModelVersion, Promotion
from diagnosis.services import judging, promotion
from diagnosis.services.version_change import PromotionImpossible

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*deeds) -> list[str]:
    """Run each deed in a thread of its own, all from the same moment; what came of each, in words."""
    start, came = threading.Barrier(len(deeds)), [""] * len(deeds)

    def do(number, deed):
        try:
            start.wait(10)
            came[number] = deed().version.name
        except PromotionImpossible as problem:
            came[number] = str(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return came


def judged(versions, name):
    version = versions.add(name)
    assert judging.judge_now(version=version, actor=None).verdict["passed"]
    return version


def promoting(version):
    return lambda: promotion.promote(version=version, actor=None)


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(versions):
    names = ["field-2", "field-3"]
    came = at_once(*(promoting(judged(versions, name)) for name in names))
    winners = [name for name in names if name in came]
    assert len(winners) == 1, came
    (told,) = [words for words in came if words not in names]
    assert "judge again" in told or "is not judged yet" in told or "judge it first" in told
    assert ModelVersion.objects.filter(status="active").get().name == winners[0]
    assert Promotion.objects.filter(kind="promote").count() == 1
    assert AuditEvent.objects.filter(action="promote_model").count() == 1


def test_the_same_promotion_twice_at_once_happens_once(versions):
    version = judged(versions, "field-2")
    at_once(*[promoting(version)] * 3)
    assert ModelVersion.objects.filter(status="active").get() == version
    assert Promotion.objects.filter(kind="promote").count() == 1


def test_a_rollback_and_a_promotion_at_once_leave_one_active(versions):
    promotion.promote(version=judged(versions, "field-2"), actor=None)
    third = judged(versions, "field-3")

    def back():
        return promotion.rollback(task="field", laboratory=None, actor=None, why="a missed case")

    at_once(back, promoting(third))
    active = ModelVersion.objects.filter(status="active").get()
    newest = Promotion.objects.order_by("-at", "-pk").first()
    assert newest.version == active
    assert AuditEvent.objects.filter(action__in=["promote_model", "rollback_model"]).count() == (
        Promotion.objects.exclude(kind="first").count()
    )


def test_two_requests_to_judge_at_once_give_one(versions, monkeypatch):
    monkeypatch.setattr("diagnosis.services.queue.send_judgement", lambda key: True)
    version = versions.add("field-2")
    at_once(*[lambda: judging.request(version=version, actor=None)] * 4)
    assert version.judgements.count() == 1
