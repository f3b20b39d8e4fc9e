"""Versions side by side, and what an administrator does with one: compare, promote, force, roll back, shadow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from diagnosis.model_selectors import Agreement
from diagnosis.models import (
    Analysis,
    AuditEvent,
    Judgement,
    ModelVersion,
    Promotion,
    ShadowAnalysis,
    Training,
)
from diagnosis.services import proposals, registry
from diagnosis.services.proposals import Proposal
from ml.bundle import seal
from ml.calibration import wilson_interval
from tests import stand_in
from tests.diagnosis import told

pytestmark = pytest.mark.django_db
PLENTY = 5


@pytest.fixture
def admin(client: Client, cast: Any) -> Client:
    client.force_login(cast.administrator)
    return client


@pytest.fixture
def reader(cast: Any) -> Client:
    client = Client()
    client.force_login(cast.hematologist)
    return client


@pytest.fixture
def active(version: ModelVersion, cast: Any) -> ModelVersion:
    """The active version, this laboratory's own."""
    ModelVersion.objects.update(laboratory=cast.administrator.laboratory)
    Promotion.objects.all()._raw_delete("default")
    version.refresh_from_db()
    return version


@pytest.fixture
def candidate(active: ModelVersion, bundles: Path) -> ModelVersion:
    return add(active, bundles, "field-2", loss=0.003)


def add(active: ModelVersion, bundles: Path, name: str, *, loss: float = 0.0) -> ModelVersion:
    """A registered candidate of the active version's laboratory, with figures."""
    folder = stand_in.copy_bundle(bundles / active.name, bundles, name=name).path
    (folder / "evidence" / "metrics.json").write_text(json.dumps(told.metrics(name, loss=loss)))
    manifest = json.loads((folder / "bundle.json").read_text())
    seal(folder, {key: value for key, value in manifest.items() if key not in ("files", "format")})
    return registry.register_bundle(folder, laboratory=active.laboratory)


def of(version: ModelVersion, deed: str = "promote") -> str:
    return f"/models/versions/{version.pk}/{deed}"


# --- side by side -------------------------------------------------------------------------------------------


def test_versions_stand_side_by_side_with_split_n_and_interval(
    admin: Client, candidate: ModelVersion
) -> None:
    page = admin.get("/models").text
    row = page.split('<table class="sides">')[1].split("</table>")[0]

    assert f'href="/models?open={candidate.pk}#version-{candidate.pk}">field-2</a>' in row
    assert "taleqani-all, standing block split, test part" in row
    assert "n = 532 in 16 groups" in row
    assert "<b>0.994</b>" in row
    assert "0.978 to 1.000" in row
    assert "no evidence: its classes are unproven" in row  # of the stand-in


def test_the_active_version_is_open_unless_another_is_asked_for(
    admin: Client, active: ModelVersion, candidate: ModelVersion
) -> None:
    def is_open(page: str, version: ModelVersion) -> bool:
        return f'id="version-{version.pk}" open' in page

    page, asked = admin.get("/models").text, admin.get(f"/models?open={candidate.pk}").text
    assert is_open(page, active)
    assert not is_open(page, candidate)
    assert is_open(asked, candidate)
    assert not is_open(asked, active)
    assert is_open(admin.get("/models?open=x").text, active)


def test_a_page_asks_the_same_queries_however_many_versions_there_are(
    admin: Client, active: ModelVersion, candidate: ModelVersion, bundles: Path
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert admin.get("/models").status_code == 200
        return len(asked)

    admin.get("/models")
    before = queries()
    for number in range(PLENTY):
        made = add(active, bundles, f"field-1{number}")
        Promotion.objects.create(
            task="field", version=made, instead_of=active, kind="promote", laboratory=active.laboratory
        )
    assert queries() == before


def test_the_saliency_of_a_bundle_is_told_with_its_chance(admin: Client, candidate: ModelVersion) -> None:
    page = admin.get("/models").text

    assert "Share of the map&#x27;s mass on leukocyte nuclei" in page
    assert "0.410" in page
    assert "Chance: share of the area that nuclei take" in page
    assert "Grad-CAM++ maps of the class given." in page  # older evidence, of one method


def test_a_hematologist_reads_and_finds_nothing_to_press(
    reader: Client, active: ModelVersion, candidate: ModelVersion
) -> None:
    page = reader.get("/models").text

    assert "field-2" in page
    for word in ("Compare and promote", "Run as a shadow", "Roll back"):
        assert word not in page


# --- promoting ----------------------------------------------------------------------------------------------


def test_comparing_is_a_workers_job_and_asked_for_once(
    admin: Client, candidate: ModelVersion, active: ModelVersion, cast: Any
) -> None:
    for _ in range(2):
        assert admin.post(of(candidate, "judge")).status_code == 302
    judgement = Judgement.objects.get()

    assert (judgement.version, judgement.against, judgement.actor) == (candidate, active, cast.administrator)
    assert "Waiting for a worker" in admin.get(of(candidate)).text


def test_a_comparison_is_followed_until_it_ends(
    admin: Client, candidate: ModelVersion, active: ModelVersion
) -> None:
    judgement = told.judging(candidate, active)
    page = admin.get(of(candidate)).text
    state = page.split("/judgement?state=")[1].split('"')[0]

    assert "211 of 532" in page
    assert "every 1s" in page
    assert admin.get(of(candidate, "judgement"), {"state": state}).status_code == 204
    Judgement.objects.filter(pk=judgement.pk).update(progress={"done": 300, "total": 532})
    assert "300 of 532" in admin.get(of(candidate, "judgement"), {"state": state}).text
    Judgement.objects.filter(pk=judgement.pk).update(state="failed", failure="There is no data.")
    assert admin.get(of(candidate, "judgement"), {"state": state})["HX-Refresh"] == "true"
    page = admin.get(of(candidate)).text
    assert "There is no data." in page
    assert "every 1s" not in page


def test_a_verdict_is_shown_check_by_check(
    admin: Client, candidate: ModelVersion, active: ModelVersion
) -> None:
    told.judged(candidate, active, passed=False)
    page = admin.get(of(candidate)).text

    assert "The gate refuses it" in page
    assert "the interval reaches to -0.031" in page
    assert "! refused" in page
    assert page.count("✓ passed") == 6
    assert "532</td>" in page
    assert "-0.017" in page
    assert "Both versions on the same locked images" in page


def test_what_passes_is_promoted(
    admin: Client, candidate: ModelVersion, active: ModelVersion, cast: Any
) -> None:
    judgement = told.judged(candidate, active, passed=True)
    response = admin.post(of(candidate), {"judgement": judgement.pk, "why": "Better."})

    assert response["Location"] == f"/models?open={candidate.pk}#version-{candidate.pk}"
    promotion = Promotion.objects.get()
    assert (promotion.version, promotion.instead_of, promotion.forced) == (candidate, active, False)
    assert (promotion.why, promotion.actor) == ("Better.", cast.administrator)
    page = admin.get("/models").text
    assert "field-2 promoted" in page
    assert "Verdict: passed" in page
    assert "Roll back…" in page


def test_what_is_refused_needs_force_and_a_reason(
    admin: Client, candidate: ModelVersion, active: ModelVersion
) -> None:
    seen = {"judgement": told.judged(candidate, active, passed=False).pk}

    for given in ({}, {"why": "Because."}, {"force": "1"}, {"force": "1", "why": "  "}):
        response = admin.post(of(candidate), {**seen, **given})
        assert response.status_code == 422
        assert "The gate refuses it" in response.text
        assert not Promotion.objects.exists()
    assert "needs a reason" in admin.post(of(candidate), {**seen, "force": "1"}).text

    admin.post(of(candidate), {**seen, "force": "1", "why": "For the <teaching> set."})
    assert Promotion.objects.get().forced
    page = admin.get("/models").text
    assert "! forced" in page
    assert "For the &lt;teaching&gt; set." in page
    assert AuditEvent.objects.filter(action="force_promote_model").count() == 1


@pytest.mark.parametrize("seen", ["none", "another", "nonsense"])
def test_a_verdict_nobody_saw_promotes_nothing(
    admin: Client, candidate: ModelVersion, active: ModelVersion, seen: str
) -> None:
    old = told.judged(candidate, active, passed=True)
    if seen == "another":
        told.judged(candidate, active, passed=True)
    response = admin.post(
        of(candidate), {} if seen == "none" else {"judgement": "x" if seen == "nonsense" else old.pk}
    )

    assert response.status_code == 422
    assert "out of date" in response.text
    assert not Promotion.objects.exists()


def test_a_verdict_against_what_was_active_before_counts_no_more(
    admin: Client, candidate: ModelVersion, active: ModelVersion, bundles: Path
) -> None:
    other = add(active, bundles, "field-7")
    judgement = told.judged(candidate, active, passed=True)
    ModelVersion.objects.filter(pk=active.pk).update(status="retired")
    ModelVersion.objects.filter(pk=other.pk).update(status="active")

    assert "Compare now" in admin.get(of(candidate)).text
    assert admin.post(of(candidate), {"judgement": judgement.pk}).status_code == 422


def test_a_version_of_every_laboratory_takes_a_superuser(
    admin: Client, candidate: ModelVersion, active: ModelVersion, cast: Any
) -> None:
    ModelVersion.objects.update(laboratory=None)
    judgement = told.judged(candidate, active, passed=True)

    page = admin.get(of(candidate)).text
    assert "only an administrator of the whole installation" in page
    assert f"Promote {candidate.name}</button>" not in page
    assert "Compare and promote" not in admin.get("/models").text
    assert admin.post(of(candidate), {"judgement": judgement.pk}).status_code == 403
    cast.administrator.is_superuser = True
    cast.administrator.save()
    assert admin.post(of(candidate), {"judgement": judgement.pk}).status_code == 302


# --- rolling back and shadows -------------------------------------------------------------------------------


def test_rolling_back_takes_a_reason(admin: Client, candidate: ModelVersion, active: ModelVersion) -> None:
    admin.post(of(candidate), {"judgement": told.judged(candidate, active, passed=True).pk})

    assert "needs a reason" in admin.post(of(candidate, "roll-back"), {"why": " "}, follow=True).text
    page = admin.post(of(candidate, "roll-back"), {"why": "Pale slides.", "to": active.pk}, follow=True).text
    assert f"Rolled back: {active.name} is active again." in page
    assert f"<b>Rolled back to {active.name}</b>" in page
    assert "Pale slides." in page
    active.refresh_from_db()
    assert active.status == "active"


@pytest.mark.parametrize("to", ["field-1", "-1", "9" * 30, "٣x"])
def test_going_back_to_what_is_no_version_changes_nothing(
    admin: Client, candidate: ModelVersion, active: ModelVersion, to: str
) -> None:
    admin.post(of(candidate), {"judgement": told.judged(candidate, active, passed=True).pk})

    page = admin.post(of(candidate, "roll-back"), {"why": "Pale slides.", "to": to}, follow=True).text
    assert "no such version to go back to" in page
    candidate.refresh_from_db()
    assert candidate.status == "active"


def test_versions_of_one_name_keep_their_own_evidence(
    admin: Client, candidate: ModelVersion, active: ModelVersion, bundles: Path
) -> None:
    (bundles / "upgrade").mkdir()
    folder = stand_in.copy_bundle(bundles / "field-2", bundles / "upgrade", name="field-2").path
    (folder / "evidence" / "metrics.json").write_text(json.dumps(told.metrics("field-2", loss=0.2)))
    manifest = json.loads((folder / "bundle.json").read_text())
    seal(folder, {key: value for key, value in manifest.items() if key not in ("files", "format")})
    other = registry.register_bundle(folder, laboratory=active.laboratory)

    served = [
        b"".join(admin.get(f"/models/versions/{one.pk}/evidence/metrics.json").streaming_content)
        for one in (candidate, other)
    ]
    assert [json.loads(one) for one in served] == [
        told.metrics("field-2", loss=loss) for loss in (0.003, 0.2)
    ]


def test_only_what_is_active_is_rolled_back(admin: Client, candidate: ModelVersion) -> None:
    page = admin.post(of(candidate, "roll-back"), {"why": "x"}, follow=True).text

    assert "is not active any more: nothing was rolled back" in page
    assert not Promotion.objects.exists()


def test_a_shadow_is_for_administrators_alone(admin: Client, reader: Client, candidate: ModelVersion) -> None:
    evidence = f"/models/versions/{candidate.pk}/evidence/metrics.json"
    told.training("field-9", state="done", result=candidate, laboratory=candidate.laboratory)
    assert b"".join(reader.get(evidence).streaming_content).startswith(b"{")
    assert "analyses beside the active version" in admin.post(of(candidate, "shadow"), follow=True).text

    training = f"/models/trainings/{Training.objects.get().pk}"
    for page in ("/models", training):
        assert "field-2" not in reader.get(page).text
        assert "field-2" in admin.get(page).text
    assert reader.get(evidence).status_code == 404
    assert "Stop the shadow" in admin.get("/models").text
    admin.post(of(candidate, "retire"))
    candidate.refresh_from_db()
    assert candidate.status == "retired"


def test_how_far_a_shadow_agrees_is_counted_on_real_images_of_this_laboratory(
    admin: Client, reader: Client, candidate: ModelVersion, add_image: Any, judge: Any, cast: Any
) -> None:
    from diagnosis.services import intake

    theirs = intake.create_case(user=cast.outsider, accession_number="X-1", patient_code="P-1")
    told_by = [
        (add_image(), {"label": "early", "suspected": True}),
        (add_image(), {"label": "benign", "suspected": False}),
        (add_image(), {"failure": "The file is gone."}),
        (add_image(is_drawn=True), {"label": "pre", "suspected": False}),
        (add_image(to=theirs, user=cast.outsider), {"label": "pre", "suspected": False}),
    ]
    ModelVersion.objects.exclude(pk=candidate.pk).update(laboratory=None)
    for image, said in told_by:
        analysis: Analysis = judge(image)  # early, suspected
        outcome = "" if "failure" in said else "class"
        ShadowAnalysis.objects.create(analysis=analysis, model_version=candidate, outcome=outcome, **said)
    ModelVersion.objects.filter(pk=candidate.pk).update(status="shadow")

    page = admin.get("/models").text
    assert "1 of 2 images of this laboratory" in page
    assert "0.500" in page
    assert "Failed as a shadow" in page
    assert "As a shadow" not in reader.get("/models").text


def test_images_of_a_case_count_as_few_where_they_agree() -> None:
    def interval(*cases: tuple[int, int]) -> tuple[float, float]:
        n, same = (sum(each) for each in zip(*cases, strict=True))
        found = Agreement(n, same, 0, 0, 0, cases).interval
        assert found is not None
        return found

    def as_many(same: float, n: float) -> Any:
        return pytest.approx(wilson_interval(same, n), abs=1e-9)

    whole_cases = interval(*[(10, 10)] * 8, *[(10, 0)] * 2)
    assert whole_cases == as_many(0.8 * 9, 9)  # ten cases, not 100 images
    assert interval(*[(10, 8)] * 10) == as_many(80, 100)
    assert interval(*[(10, 10)] * 10) == as_many(10, 10)
    assert interval((10, 5)) == as_many(0.5, 1)
    assert Agreement(0, 0, 3, 0, 0, ()).interval is None


# --- proposals ----------------------------------------------------------------------------------------------


def test_a_proposal_is_told_to_administrators_and_starts_nothing(
    admin: Client, reader: Client, active: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proposed(**_: Any) -> Proposal:
        return Proposal(active, ("reviews",), ("120 reviews have come in.",))

    monkeypatch.setattr(proposals, "retraining_proposal", proposed)

    assert "A retraining may be worth it.</b> 120 reviews have come in." in admin.get("/models").text
    assert "may be worth it" not in reader.get("/models").text
