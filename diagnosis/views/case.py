"""The case page: film strip, viewer and reading panel; its live fragment; a drawn sample."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from diagnosis import case_selectors, permissions, selectors, veil
from diagnosis.models import Case, SmearImage
from diagnosis.services import intake
from diagnosis.services.intake import IntakeRefused
from diagnosis.services.signed import is_open_for_reading
from diagnosis.views.access import from_script, signed_in
from diagnosis.views.cell_counts import counts_of, field_classes
from diagnosis.views.frames import Progress, frame_of, is_read, progress_of
from diagnosis.views.reading import NO_DRAFT, Draft, Reading, reading_of
from diagnosis.views.trend import trend_of
from ml.imaging.reading import MAX_BYTES
from ml.saliency import METHOD_WORDS


def case_url(case: Case, image: SmearImage | None = None) -> str:
    """Address of a case, with an image selected."""
    url = reverse("diagnosis:case", args=[case.pk])
    return f"{url}?image={image.pk}" if image is not None else url


@require_safe
@signed_in
def case(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A case with one image selected (`?image=`); for our script, the reading panel of that image alone."""
    if from_script(request):
        wanted = _image_key(request)
        if wanted is not None:
            return render_panel(request, permissions.get_image_for(request.user, wanted))
    return render_case(request, pk)


def _image_key(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("image", ""))
    except ValueError:
        return None


def render_panel(
    request: HttpRequest, image: SmearImage, *, draft: Draft = NO_DRAFT, said: str = "", status: int = 200
) -> HttpResponse:
    """The reading panel of one image. `said` is what a screen reader is told once it is there."""
    reading = reading_of(
        user=request.user,
        image=image,
        reviews=list(image.reviews.select_related("reviewer", "blind_reading")),
        total=image.case.images.count(),
        veiled=veil.is_veiled(user=request.user, image=image),
        draft=draft,
    )
    return render(request, "diagnosis/_panel.html", {"reading": reading, "said": said}, status=status)


def render_case(
    request: HttpRequest, pk: int, *, image: UUID | None = None, draft: Draft = NO_DRAFT, status: int = 200
) -> HttpResponse:
    """The whole page, with `image` or that of the address selected, else the first to read."""
    case = selectors.case_detail(user=request.user, case_id=pk)
    images = list(case.images.all())
    veiled = veil.veiled_among(user=request.user, case=case, images=images)
    selected = _selected(images, image or _image_key(request), veiled)
    reading: Reading | None = None
    if selected is not None:
        reading = reading_of(
            user=request.user,
            image=selected,
            reviews=selected.reviews_newest_first,  # type: ignore[attr-defined]
            total=len(images),
            veiled=selected.pk in veiled,
            draft=draft,
        )
    patient = case_selectors.cases_of_patient(user=request.user, case=case)
    context = {
        "section": "worklist",
        "case": case,
        "is_open": is_open_for_reading(case),
        "frames": [frame_of(image, veiled) for image in images],
        "progress": progress_of(images, veiled),
        "counts": counts_of(case, images),
        "fieldclass": field_classes(images),
        "reading": reading,
        "patient": patient,
        "trend": trend_of(patient),
        "methods": METHOD_WORDS,
        "max_bytes": MAX_BYTES,
        "megabytes": MAX_BYTES // 2**20,
        "too_large": intake.too_large(),
    }
    return render(request, "diagnosis/case.html", context, status=status)


def _selected(
    images: Sequence[SmearImage], wanted: UUID | None, veiled: Collection[UUID]
) -> SmearImage | None:
    """The image asked for; else the first one suspected and unread, the first unread, the first. To a reader
    in blind mode the order tells nothing: those she has yet to class come as they lie.
    """
    for image in images:
        if image.pk == wanted:
            return image
    unread = [image for image in images if not is_read(image)]
    shown = [i for i in unread if i.pk not in veiled]
    suspected = [i for i in shown if i.newest_analysis is not None and i.newest_analysis.suspected]
    return next(iter([*suspected, *[i for i in images if i.pk in veiled], *unread, *images]), None)


@require_safe
@signed_in
def case_live(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What has changed on a case page since it was told last: 204 when nothing has.

    `state` is the state it knows, `last` the position of the last image it shows, `open` whether it knows of
    unfinished ones.
    """
    case = permissions.get_case_for(request.user, pk)
    images = selectors.live_status(case=case)
    veiled = veil.veiled_among(user=request.user, case=case, images=images)
    progress = progress_of(images, veiled)
    if request.GET.get("state") == progress.state:
        return HttpResponse(status=204)
    try:
        last = int(request.GET.get("last", ""))
    except ValueError:
        last = 0
    frames = [frame_of(image, veiled) for image in images]
    context = {
        "case": case,
        "progress": progress,
        "counts": counts_of(case, images),
        "fieldclass": field_classes(images),
        "known": [frame for frame in frames if frame.image.position <= last],
        "new": [frame for frame in frames if frame.image.position > last],
        "said": _said(progress) if request.GET.get("open") and not progress.unfinished else "",
        "is_live": True,
    }
    return render(request, "diagnosis/_live.html", context)


def _said(progress: Progress) -> str:
    """What a screen reader is told when the last image of a case is finished."""
    if progress.veiled:
        return "All images analysed."
    parts = [f"{progress.suspected} suspected", f"{progress.indeterminate} indeterminate"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    return f"All images analysed: {', '.join(parts)}."


@require_POST
@signed_in
def sample(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Draw a smear field into the case, marked as drawn, and show it."""
    case = permissions.get_case_for(request.user, pk, permissions.UPLOAD)
    try:
        image = intake.add_drawn_sample(user=request.user, case=case)
    except IntakeRefused as refusal:
        messages.warning(request, str(refusal))
        return HttpResponseRedirect(case_url(case))
    return HttpResponseRedirect(case_url(case, image))
