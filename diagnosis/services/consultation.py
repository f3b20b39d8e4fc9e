"""Second opinions that readers ask of colleagues, and disputes between two readings of one image."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Case, Dispute, Review, SecondOpinion, SmearImage, User
from diagnosis.services import audit, signed

LONGEST_QUESTION = 2000

_WITH_CLASS = (Review.Verdict.AGREE, Review.Verdict.OVERRULE)


class ConsultationRefused(Exception):
    """What can't be asked or withdrawn as things stand; the text is one sentence for the reader."""


def open_disputes(case: Case) -> QuerySet[Dispute]:
    """Disputes of a case that nobody has settled yet, in the order of its images."""
    return _disputes().filter(image__case=case, ended_at__isnull=True).order_by("image__position")


def open_opinions(case: Case) -> QuerySet[SecondOpinion]:
    """Second opinions asked about a case or its images that still wait for their answer, oldest first."""
    return (
        SecondOpinion.objects.filter(case=case, answered_at__isnull=True, withdrawn_at__isnull=True)
        .select_related("image", "asked_by", "asked_of")
        .order_by("asked_at", "pk")
    )


def newest_readings(image: SmearImage) -> dict[int, Review]:
    """Key of a reader -> her newest review of the image that she has not taken back, newest first."""
    reviews = (
        Review.objects.filter(image=image, withdrawn_by__isnull=True)
        .exclude(verdict=Review.Verdict.WITHDRAW)
        .select_related("reviewer")
        .order_by("-created_at", "-pk")
    )
    readings: dict[int, Review] = {}
    for review in reviews:
        readings.setdefault(review.reviewer_id, review)
    return readings


@transaction.atomic
def ask(
    *, user: User, case: Case, of: User | None, image: SmearImage | None = None, question: str = ""
) -> SecondOpinion:
    """Ask a colleague for a second opinion on a case, or on one image of it.

    Raises ConsultationRefused with a sentence for the asker, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, case)
    question = question.replace("\x00", "").strip()
    if len(question) > LONGEST_QUESTION:
        raise ConsultationRefused(f"Keep the question under {LONGEST_QUESTION} characters.")
    if of is None or not permissions.can(of, permissions.REVIEW, case):
        raise ConsultationRefused("Choose a colleague of your laboratory who may review.")
    if of.pk == user.pk:
        raise ConsultationRefused("A second opinion is a colleague's: choose somebody else.")
    # The lock of the case keeps a signature, and a second question to the same colleague, in order.
    signed.require_open(case, ConsultationRefused)
    if image is not None and image.case_id != case.pk:
        raise ConsultationRefused("This image belongs to another case; reload the page.")
    unread = _unread_by(of, case, image)
    if unread is None:
        raise ConsultationRefused("There is no image to read yet: add images first.")
    if not unread:
        what = "image" if image is not None else "case's images"
        raise ConsultationRefused(f"{of.display_name} has read this {what} already.")
    if open_opinions(case).filter(asked_of=of, image=image).exists():
        raise ConsultationRefused(f"{of.display_name} has been asked already and has not answered yet.")
    opinion = SecondOpinion.objects.create(
        case=case, image=image, asked_by=user, asked_of=of, question=question
    )
    _record("ask_opinion", user, opinion, {"asked_of": of.pk})
    return opinion


@transaction.atomic
def withdraw(*, user: User, opinion: SecondOpinion) -> None:
    """Take back a question that has not been answered yet; only who asked may.

    Raises ConsultationRefused with a sentence, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, opinion.case)
    if opinion.asked_by_id != user.pk:
        raise ConsultationRefused(f"Only {opinion.asked_by.display_name}, who asked, can withdraw this.")
    now = timezone.now()
    withdrawn = SecondOpinion.objects.filter(
        pk=opinion.pk, answered_at__isnull=True, withdrawn_at__isnull=True
    ).update(withdrawn_at=now)
    if not withdrawn:
        opinion.refresh_from_db()
        if opinion.answered_at:
            raise ConsultationRefused(f"{opinion.asked_of.display_name} has answered in the meantime.")
        return
    opinion.withdrawn_at = now
    _record("withdraw_opinion", user, opinion, {"asked_of": opinion.asked_of_id})


def note_review(*, review: Review) -> None:
    """What a new review means for questions and disputes, in the transaction that adds it.

    The caller holds the lock of the image, so that two readers' reviews are seen one after the other.
    """
    if review.verdict == Review.Verdict.WITHDRAW:
        _reopen_opinions(review)
    else:
        _answer_opinions(review)
    _follow_dispute(review)


# --- second opinions


def _unread_by(reader: User, case: Case, image: SmearImage | None) -> set[str] | None:
    """Keys of the images asked about that the reader has no standing review of; None where there are none."""
    asked = SmearImage.objects.filter(case=case)
    if image is not None:
        asked = asked.filter(pk=image.pk)
    newest = dict(asked.values_list("pk", "newest_analysis_id"))
    if not newest:
        return None
    reviews = (
        Review.objects.filter(image__in=newest, reviewer=reader, withdrawn_by__isnull=True)
        .exclude(verdict=Review.Verdict.WITHDRAW)
        .order_by("-created_at", "-pk")
    )
    read = {review.image_id for review in reviews if review.stands(newest[review.image_id])}
    return {str(key) for key in newest if key not in read}


def _answer_opinions(review: Review) -> None:
    """End the questions that this review answers: all that was asked about has been read by who was asked."""
    # Locked, because of two last images reviewed at once each would count the other as unread.
    asked = (
        SecondOpinion.objects.select_for_update(of=("self",))
        .filter(
            case_id=review.image.case_id,
            asked_of_id=review.reviewer_id,
            answered_at__isnull=True,
            withdrawn_at__isnull=True,
        )
        .select_related("case", "asked_of")
    )
    for opinion in asked:
        if opinion.image_id not in (None, review.image_id):
            continue
        if opinion.image_id is None and _unread_by(opinion.asked_of, opinion.case, None):
            continue
        opinion.answered_at = timezone.now()
        opinion.save(update_fields=["answered_at"])
        _record("answer_opinion", review.reviewer, opinion, {"review": review.pk})


def _reopen_opinions(review: Review) -> None:
    """Questions that rested on a review which its reader takes back wait for her answer again."""
    taken_back = review.withdraws
    if taken_back is None:
        return
    answered = SecondOpinion.objects.filter(
        case_id=review.image.case_id,
        asked_of_id=review.reviewer_id,
        answered_at__gte=taken_back.created_at,
        withdrawn_at__isnull=True,
    ).select_related("case", "image", "asked_of")
    for opinion in answered:
        if opinion.image_id not in (None, review.image_id):
            continue
        if not _unread_by(opinion.asked_of, opinion.case, opinion.image):
            continue
        if open_opinions(opinion.case).filter(asked_of=opinion.asked_of, image=opinion.image).exists():
            continue
        opinion.answered_at = None
        opinion.save(update_fields=["answered_at"])
        _record("reopen_opinion", review.reviewer, opinion, {"review": taken_back.pk})


def _record(action: str, actor: User, opinion: SecondOpinion, detail: dict[str, object]) -> None:
    audit.record(
        action=action,
        actor=actor,
        laboratory=opinion.case.laboratory,
        obj=opinion.image or opinion.case,
        detail={"opinion": opinion.pk, **detail},
    )


# --- disputes


def _disputes() -> QuerySet[Dispute]:
    return Dispute.objects.select_related(
        "image", "first__reviewer", "second__reviewer", "settled_by__reviewer"
    )


def _has_class(review: Review | None) -> bool:
    """Whether a reading names a class: who cannot tell contradicts nobody."""
    return review is not None and review.verdict in _WITH_CLASS and bool(review.label)


def _differ(one: Review | None, other: Review | None) -> bool:
    return (
        one is not None
        and other is not None
        and _has_class(one)
        and _has_class(other)
        and one.label != other.label
    )


def _follow_dispute(review: Review) -> None:
    """Raise, keep, end or settle the dispute of an image after a review of it."""
    image = review.image
    readings = newest_readings(image)
    dispute = _disputes().filter(image=image, ended_at__isnull=True).first()
    if dispute is None:
        _raise_where_they_differ(review, readings)
        return
    pair = (dispute.first.reviewer_id, dispute.second.reviewer_id)
    if review.reviewer_id not in pair:
        if review.verdict in _WITH_CLASS and review.label:
            _end(dispute, review, settled_by=review)
        return
    first, second = readings.get(pair[0]), readings.get(pair[1])
    if _differ(first, second):
        dispute.first, dispute.second = first, second  # type: ignore[assignment]  # neither is None where they differ
        dispute.save(update_fields=["first", "second"])
        return
    _end(dispute, review)
    _raise_where_they_differ(review, readings)


def _raise_where_they_differ(review: Review, readings: dict[int, Review]) -> None:
    """Raise a dispute where the reader's class is not that of a colleague whose reading stands.

    What was read before an earlier dispute was settled is no party to a new one: the settlement counts.
    """
    image = review.image
    mine = readings.get(review.reviewer_id)
    settled = (
        Dispute.objects.filter(image=image, settled_by__isnull=False)
        .order_by("-settled_by")
        .values_list("settled_by_id", flat=True)
        .first()
    ) or 0
    if mine is None or mine.pk < settled or not mine.stands(image.newest_analysis_id):
        return
    for other in readings.values():
        if other.pk >= settled and other.stands(image.newest_analysis_id) and _differ(mine, other):
            dispute = Dispute.objects.create(image=image, first=other, second=mine)
            _record_dispute("raise_dispute", dispute, review)
            return


def _end(dispute: Dispute, review: Review, *, settled_by: Review | None = None) -> None:
    dispute.settled_by, dispute.ended_at = settled_by, timezone.now()
    dispute.save(update_fields=["settled_by", "ended_at"])
    _record_dispute("settle_dispute" if settled_by else "end_dispute", dispute, review)


def _record_dispute(action: str, dispute: Dispute, review: Review) -> None:
    audit.record(
        action=action,
        actor=review.reviewer,
        laboratory=dispute.image.case.laboratory,
        obj=dispute.image,
        detail={"dispute": dispute.pk, "review": review.pk},
    )
