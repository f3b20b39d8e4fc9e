"""Two images of a case that end at once: somebody is told, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import close_old_connections, connection, transaction

from diagnosis.models import Analysis, Case, SmearImage, WebhookDelivery
from diagnosis.services import analyze, webhooks

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_last_two_images_that_end_at_once_tell_of_the_case_once(
    cast: Any, case: Case, add_image: Callable[..., SmearImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks.create(user=cast.administrator, url="https://lis.example/", events=webhooks.EVENTS)
    images = [add_image(), add_image()]
    for image in images:
        Analysis.objects.filter(image=image).update(state="running", claimed_by="w")
    both_ended = threading.Barrier(2)
    genuine = webhooks.note_analysis_ended

    def together(*, analysis: Analysis) -> None:
        # Both have written their own end and see nothing of the other's: the moment that needs the lock. SQLite
        # lets the second begin only after the first, and then there is nobody to wait for.
        if connection.vendor == "postgresql":
            both_ended.wait(20)
        genuine(analysis=analysis)

    monkeypatch.setattr(webhooks, "note_analysis_ended", together)
    problems: list[BaseException] = []

    def end(image: SmearImage) -> None:
        try:
            analysis = Analysis.objects.select_related("image__case__laboratory").get(image=image)
            with transaction.atomic():
                analyze.fail(analysis=analysis, claim="w", failure="The disk is full.")
        except BaseException as error:  # noqa: BLE001 - told by the test
            problems.append(error)
        finally:
            close_old_connections()
            connection.close()

    threads = [threading.Thread(target=end, args=[image]) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)

    assert not problems
    delivery = WebhookDelivery.objects.get()
    assert (delivery.event, delivery.payload["failed"]) == ("case.analysed", 2)
