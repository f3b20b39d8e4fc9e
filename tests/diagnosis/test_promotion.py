"""Promoting through the gate, past it and back: what changes, what is refused, and what is kept of it."""

from __future__ import annotations

import shutil

import pytest
from django.core.exceptions import PermissionDenied

from diagnosis.models import AuditEvent, Judgement, Laboratory, ModelVersion, Promotion
from diagnosis.services import judging, promotion, registry, version_change
from diagnosis.services.promotion import PromotionRefused
from diagnosis.services.version_change import PromotionImpossible

pytestmark = pytest.mark.django_db


def promote(version, **options):
    return promotion.promote(version=version, **{"actor": None, "data": [], **options})


def rollback(**options):
    return promotion.rollback(
        **{"task": "field", "laboratory": None, "actor": None, "why": "it missed a case", **options}
    )


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def test_an_equal_version_is_promoted_and_the_one_before_retires(versions, active):
    version = versions.add("field-2")
    done = promote(version)
    assert active() == "field-2"
    assert ModelVersion.objects.get(name="field-1").status == "retired"
    assert (done.kind, done.forced, done.instead_of.name) == ("promote", False, "field-1")
    assert done.verdict["passed"]
    assert (done.verdict["n"], done.verdict["groups"]) == (160, 20)
    assert actions()[-2:] == ["judge_model", "promote_model"]
    event = AuditEvent.objects.get(action="promote_model")
    assert (event.detail["name"], event.detail["instead_of"]) == ("field-2", "field-1")


def test_a_worse_version_is_refused_with_reasons_and_nothing_changes(versions, active):
    with pytest.raises(PromotionRefused) as refusal:
        promote(versions.worse())
    assert "field-worse is not promoted. The balanced accuracy differs by" in str(refusal.value)
    assert "sensitivity for malignant differs by" in str(refusal.value)
    assert active() == "field-1"
    assert not Promotion.objects.exclude(kind="first").exists()
    assert Judgement.objects.get().verdict == refusal.value.verdict


def test_a_forced_promotion_takes_a_reason_and_keeps_it_with_the_verdict(versions, cast, active):
    version = versions.worse()
    cast.administrator.is_superuser = True
    with pytest.raises(PromotionImpossible, match="needs a reason"):
        promote(version, actor=cast.administrator, force=True, why="  ")
    with pytest.raises(PromotionImpossible, match="too long: 4,000 characters"):
        promote(version, actor=cast.administrator, force=True, why="x" * 4001)
    done = promote(version, actor=cast.administrator, force=True, why="the scanner changed")
    assert active() == "field-worse"
    assert (done.forced, done.why, done.actor) == (True, "the scanner changed", cast.administrator)
    assert not done.verdict["passed"]
    event = AuditEvent.objects.get(action="force_promote_model")
    assert (event.actor, event.detail["why"]) == (cast.administrator, "the scanner changed")
    assert any("sensitivity" in reason for reason in event.detail["reasons"])


def test_force_where_none_was_needed_is_no_forced_promotion(versions):
    done = promote(versions.add("field-2"), force=True, why="to be sure")
    assert (done.forced, done.why) == (False, "to be sure")


def test_without_locked_images_at_hand_it_is_unproven(versions, active, tmp_path):
    version = versions.add("field-2")
    (tmp_path / "elsewhere" / "early").mkdir(parents=True)
    (tmp_path / "elsewhere" / "early" / "1.png").write_bytes(b"another image")
    with pytest.raises(PromotionRefused, match="Unproven: 0 of the 160 locked test images of field-1"):
        promote(version, data=[tmp_path / "elsewhere"])
    assert active() == "field-1"
    promote(version, data=[tmp_path / "elsewhere"], force=True, why="the disk with the data is lost")
    assert active() == "field-2"


def test_a_candidate_that_learnt_locked_images_is_judged_without_their_groups(versions):
    learnt = [item.sha256 for item in versions.data if item.group.endswith("-0")]
    version = versions.add("field-2", learnt=learnt)
    with pytest.raises(PromotionRefused) as refusal:
        promote(version)
    assert refusal.value.verdict["n"] == 128
    assert "images of the training" in str(refusal.value)  # and its evidence was measured on them


def test_data_that_cannot_be_read_are_said_and_nothing_changes(versions, active, tmp_path):
    with pytest.raises(PromotionImpossible, match="There is no folder or manifest at"):
        promote(versions.add("field-2"), data=[tmp_path / "nothing"])
    assert active() == "field-1"
    assert Judgement.objects.get().state == "failed"


def test_what_is_active_or_damaged_cannot_be_promoted_by_force_neither(versions):
    with pytest.raises(PromotionImpossible, match="field-1 is active already"):
        promote(registry.active_version(), force=True, why="again")
    version = versions.add("field-2")
    (versions.own / "field-2" / "model.onnx").write_bytes(b"damage")
    with pytest.raises(PromotionImpossible, match=r"model.onnx has changed\. The active version stays"):
        promote(version, force=True, why="it must be")


def test_a_page_promotes_by_the_judgement_that_a_worker_made(versions, active):
    version = versions.add("field-2")
    with pytest.raises(PromotionImpossible, match="is not judged yet"):
        promote(version, data=None)
    judgement = promotion.request_judgement(version=version, actor=None)
    assert promotion.newest_judgement(version=version) == judgement
    assert judging.run(judgement_id=judgement.pk)
    promote(version, data=None)
    assert active() == "field-2"


def test_a_judgement_against_a_version_that_is_not_active_any_more_counts_for_nothing(versions, active):
    second, third = versions.add("field-2"), versions.add("field-3")
    for version in (second, third):
        judging.run(judgement_id=promotion.request_judgement(version=version, actor=None).pk)
    promote(second, data=None)
    assert promotion.newest_judgement(version=third) is None
    with pytest.raises(PromotionImpossible, match="is not judged yet"):
        promote(third, data=None)
    assert active() == "field-2"


def test_another_promotion_while_judging_comes_first(versions, active, monkeypatch):
    second, third = versions.add("field-2"), versions.add("field-3")
    real = judging.judge_now

    def slow(**options):
        judgement = real(**options)
        if options["version"] == third:
            promote(second)
        return judgement

    monkeypatch.setattr(judging, "judge_now", slow)
    with pytest.raises(PromotionImpossible, match=r"another version became active \(field-2\)"):
        promote(third)
    assert active() == "field-2"
    assert ModelVersion.objects.filter(status="active").count() == 1


def test_a_promotion_that_dies_half_way_leaves_all_as_it_was(versions, active, monkeypatch):
    version = versions.add("field-2")

    def die(**options):
        raise SystemExit

    monkeypatch.setattr(Promotion.objects, "create", die, raising=False)
    with pytest.raises(SystemExit):
        promote(version)
    assert active() == "field-1"
    version.refresh_from_db()
    assert version.status == "candidate"


# --- rolling back -------------------------------------------------------------------------------------------


def test_a_rollback_takes_no_judging_and_is_kept(versions, active):
    promote(versions.add("field-2"))
    done = rollback()
    assert active() == "field-1"
    assert (done.kind, done.version.name, done.instead_of.name) == ("rollback", "field-1", "field-2")
    event = AuditEvent.objects.get(action="rollback_model")
    assert (event.detail["why"], event.detail["instead_of"]) == ("it missed a case", "field-2")
    assert ModelVersion.objects.get(name="field-2").status == "retired"


def test_a_second_rollback_goes_one_further_back_and_never_forth(versions, active):
    for name in ("field-2", "field-3"):
        promote(versions.add(name))
    rollback()
    assert active() == "field-2"
    rollback()
    assert active() == "field-1"
    with pytest.raises(PromotionImpossible, match="no version before field-1"):
        rollback()
    promote(ModelVersion.objects.get(name="field-3"))  # through the gate again
    assert [version.name for version in promotion.earlier_versions(registry.active_version())] == ["field-1"]


def test_an_earlier_version_can_be_named(versions, active):
    for name in ("field-2", "field-3"):
        promote(versions.add(name))
    first = ModelVersion.objects.get(name="field-1")
    rollback(to=first)
    assert active() == "field-1"
    with pytest.raises(PromotionImpossible, match="was not active before"):
        rollback(to=ModelVersion.objects.get(name="field-3"))


def test_a_rollback_to_files_that_are_gone_leaves_the_active_one_and_names_another(versions, active):
    for name in ("field-2", "field-3"):
        promote(versions.add(name))
    shutil.rmtree(versions.own / "field-2")
    with pytest.raises(PromotionImpossible) as problem:
        rollback()
    assert "There is no model bundle field-2" in str(problem.value)
    assert "An earlier version that is intact: field-1 (--to names it)" in str(problem.value)
    assert active() == "field-3"
    rollback(to=version_change.find_version("field-1"))
    assert active() == "field-1"


def test_a_rollback_takes_a_reason(versions, active):
    promote(versions.add("field-2"))
    with pytest.raises(PromotionImpossible, match="needs a reason"):
        rollback(why=" ")
    assert active() == "field-2"


# --- a laboratory's own version -----------------------------------------------------------------------------


def test_a_laboratory_s_own_version_leaves_the_shared_one_to_the_others(versions, cast, laboratory):
    own = versions.add("field-own", laboratory=laboratory)
    done = promote(own, actor=cast.administrator)
    assert (done.laboratory, done.instead_of.name) == (laboratory, "field-1")
    assert registry.active_version(laboratory=laboratory) == own
    assert registry.active_version(laboratory=cast.outsider.laboratory).name == "field-1"
    second = versions.add("field-own-2", laboratory=laboratory)
    promote(second, actor=cast.administrator)
    back = rollback(laboratory=laboratory, actor=cast.administrator)
    assert back.version == own
    back = rollback(laboratory=laboratory, actor=cast.administrator)
    assert back.version.name == "field-1"
    assert registry.active_version(laboratory=laboratory).name == "field-1"
    assert ModelVersion.objects.get(name="field-1").status == "active"


@pytest.mark.parametrize(
    ("who", "superuser", "own", "others", "may"),
    [
        ("technician", False, "shared", False, False),
        ("hematologist", False, "own", False, False),
        ("hematologist", True, "own", False, False),
        ("administrator", False, "own", True, True),
        ("administrator", False, "shared", False, True),
        ("administrator", False, "shared", True, False),
        ("administrator", True, "shared", True, True),
        ("administrator", True, "another's", True, False),
    ],
)
def test_who_may_change_which_version_judges(versions, cast, who, superuser, own, others, may):
    user = cast[who]
    user.is_superuser = superuser
    other = Laboratory.objects.get(slug="other")
    owner = {"shared": None, "own": user.laboratory, "another's": other}[own]
    if not others:
        cast.outsider.delete()
        other.delete()
    version = versions.add("field-2", laboratory=owner)
    if may:
        promote(version, actor=user)
        return
    for attempt in (
        lambda: promote(version, actor=user),
        lambda: promotion.request_judgement(version=version, actor=user),
        lambda: rollback(actor=user, laboratory=owner),
    ):
        with pytest.raises(PermissionDenied):
            attempt()
    assert registry.active_version().name == "field-1"
    assert not Judgement.objects.exists()


def test_the_first_version_of_a_task_needs_no_other_to_be_compared_with(versions, active):
    ModelVersion.objects.update(status="retired")
    version = versions.add("field-2")
    done = promote(version)
    assert (done.kind, done.instead_of) == ("first", None)
    assert active() == "field-2"


def test_a_version_is_found_by_name_and_by_the_start_of_its_hash(versions):
    first = versions.add("field-2")
    assert version_change.find_version("field-2") == first
    assert version_change.find_version(f"field-2@{first.bundle_sha256[:8]}") == first
    with pytest.raises(
        PromotionImpossible, match="There is no model version field-9: there are field-1, field-2"
    ):
        version_change.find_version("field-9")
