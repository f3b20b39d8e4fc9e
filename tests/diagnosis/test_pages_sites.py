"""Validation at sites: measured or not, against limits that are met, not met, not set, or not to be told."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from diagnosis.models import Laboratory, ModelVersion, Site, SiteValidation
from tests.diagnosis import told

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def site(laboratory: Laboratory) -> Site:
    return Site.objects.create(laboratory=laboratory, name="Microscope 1")


def measured(
    site: Site, version: ModelVersion, *, n: int = 400, loss: float = 0.0, **more: Any
) -> SiteValidation:
    after = told.section(version.name, loss=loss, n=n, data=site.name, split="images it did not learn from")
    return SiteValidation.objects.create(
        site=site, model_version=version, n=n, groups=n // 10, after=after, **more
    )


def limits(laboratory: Laboratory, sensitivity: float | None, specificity: float | None) -> None:
    Laboratory.objects.filter(pk=laboratory.pk).update(
        accepted_sensitivity=sensitivity, accepted_specificity=specificity
    )


def test_where_nothing_was_measured_the_page_says_so(
    reader: Client, site: Site, version: ModelVersion
) -> None:
    page = reader.get(f"/models/sites/{site.pk}").text

    assert "not validated at this site" in page
    assert "is not validated at this site.</b>" in page
    assert "not validated at this site" in reader.get("/models/sites").text


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "n", "loss", "words"),
    [
        (0.95, 0.9, 400, 0.0, "✓ limits met"),
        (0.95, 0.9, 400, 0.08, "! limits not met"),
        (None, None, 400, 0.0, "limits not set"),
        (0.95, None, 400, 0.0, "limits not set"),
        (0.95, None, 400, 0.08, "! limits not met"),
        (0.95, 0.9, 24, 0.0, "? too few images to say"),
    ],
)
def test_a_measurement_is_set_against_the_limits(
    reader: Client, laboratory: Laboratory, site: Site, version: ModelVersion,
    sensitivity: float | None, specificity: float | None, n: int, loss: float, words: str,
) -> None:  # fmt: skip
    limits(laboratory, sensitivity, specificity)
    measured(site, version, n=n, loss=loss)
    page = reader.get(f"/models/sites/{site.pk}").text

    assert words in page
    assert words in reader.get("/models/sites").text
    assert f"n = {3 * (n // 4)}" in page  # malignant images, which sensitivity is a share of
    assert "images it did not learn from" in page


def test_before_and_after_stand_beside_each_other(reader: Client, site: Site, version: ModelVersion) -> None:
    before = told.section("field-0", loss=0.2, n=400)
    measured(site, version, adapted_with=50, method="head refitted", before=before, adapted_from=version)
    page = reader.get(f"/models/sites/{site.pk}").text

    assert "Before and after it was adapted" in page
    assert "0.796" in page
    assert "0.996" in page
    assert "head refitted" in page
    assert page.count('aria-label="Confusion matrix of') == 2


def test_the_newest_measurement_counts_and_the_others_are_listed(
    reader: Client, laboratory: Laboratory, site: Site, version: ModelVersion
) -> None:
    limits(laboratory, 0.95, 0.9)
    measured(site, version, loss=0.2)
    measured(site, version)
    page = reader.get(f"/models/sites/{site.pk}").text

    assert "✓ limits met" in page
    assert "limits not met" not in page
    assert "Earlier measurements" in page


def test_what_was_measured_at_another_site_counts_there_alone(
    reader: Client, laboratory: Laboratory, site: Site, version: ModelVersion
) -> None:
    other = Site.objects.create(laboratory=laboratory, name="Microscope 2")
    measured(other, version)

    assert "is not validated at this site.</b>" in reader.get(f"/models/sites/{site.pk}").text


def test_a_shadow_at_a_site_is_for_administrators_alone(
    reader: Client, cast: Any, site: Site, version: ModelVersion
) -> None:
    measured(site, version)
    ModelVersion.objects.update(status="shadow", name="field-shadow")

    assert "field-shadow" not in reader.get(f"/models/sites/{site.pk}").text
    reader.force_login(cast.administrator)
    assert "field-shadow" in reader.get(f"/models/sites/{site.pk}").text


def test_the_list_asks_the_same_queries_however_many_sites_there_are(
    reader: Client, laboratory: Laboratory, site: Site, version: ModelVersion
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert reader.get("/models/sites").status_code == 200
        return len(asked)

    measured(site, version)
    queries()  # the first request of a session writes down that somebody works
    before = queries()
    for number in range(6):
        measured(Site.objects.create(laboratory=laboratory, name=f"Site {number}"), version)
    assert queries() == before


def test_without_sites_or_models_the_pages_say_what_to_do(reader: Client, laboratory: Laboratory) -> None:
    assert "has no sites yet" in reader.get("/models/sites").text
    site = Site.objects.create(laboratory=laboratory, name="New")
    assert "no model is active" in reader.get("/models/sites").text
    assert "No model is active" in reader.get(f"/models/sites/{site.pk}").text


def test_a_head_is_led_to_where_the_limits_are_set_and_a_hematologist_is_not(
    client: Client, cast: Any, laboratory: Laboratory, site: Site, version: ModelVersion
) -> None:
    client.force_login(cast.laboratory_head)
    assert 'class="btn small" href="/laboratory"' in client.get(f"/models/sites/{site.pk}").text
    client.force_login(cast.hematologist)
    assert 'href="/laboratory"' not in client.get(f"/models/sites/{site.pk}").text
