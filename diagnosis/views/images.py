"""The pictures of a smear image: as stored, small, as the network saw it, and the saliency overlay."""

from __future__ import annotations

import io
from typing import BinaryIO
from uuid import UUID

import numpy as np
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from PIL import Image

from diagnosis import permissions, veil
from diagnosis.models import Analysis, Cell, CellAnalysis, SmearImage
from diagnosis.services.previews import THUMBNAIL_SIZE
from diagnosis.views.access import signed_in
from ml.saliency import METHODS, overlay_png

KEPT = "private, no-cache"
"""A browser may keep a picture but must ask before each use: the next person at a shared workstation may not be
allowed to see it. Who may gets an empty 304.
"""

OVERLAY_SIZE = 1024
"""Longer side of an overlay at most: a 7x7 map holds nothing that more pixels would show."""

SCREEN_SIZE = 1024
"""Longer side that a picture for the screen has at least: the viewer's stage at a desktop, and more pixels come with
the file itself.
"""

CELL_OVERLAY_SIZE = 288
"""Side of a cell's overlay: the tile as the panel shows it."""


def _kept(response: HttpResponseBase, etag: str) -> HttpResponseBase:
    response["Cache-Control"] = KEPT
    response["ETag"] = etag
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _unchanged(request: HttpRequest, etag: str) -> HttpResponseBase | None:
    """304 for a browser that has this very content; None for one that must be sent it."""
    response = get_conditional_response(request, etag=etag)
    return None if response is None else _kept(response, etag)


def _open(file: FieldFile) -> BinaryIO:
    try:
        return file.storage.open(file.name, "rb")
    except OSError as error:
        raise Http404("The file of this image is gone.") from error


def _send(file: FieldFile, media_type: str, name: str) -> FileResponse:
    response = FileResponse(_open(file), content_type=media_type)
    response["Content-Disposition"] = f'inline; filename="{name}"'
    return response


@require_safe
@signed_in
def image_file(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The stored bytes of an image."""
    image = permissions.get_image_for(request.user, pk)
    etag = f'"{image.stored_sha256}"'
    unchanged = _unchanged(request, etag)
    if unchanged is not None:
        return unchanged
    name = f"image-{image.position}.{image.stored_format.lower()}"
    return _kept(_send(image.file, image.media_type, name), etag)


def screen_url(image: SmearImage) -> str:
    """Address of the picture that a page shows first: a reduced one of a large JPEG, else the file itself."""
    name = "image-screen" if _is_reducible(image) else "image-file"
    return reverse(f"diagnosis:{name}", args=[image.pk])


def _is_reducible(image: SmearImage) -> bool:
    """As far as a page can tell without opening the file."""
    return image.stored_format == "JPEG" and max(image.width, image.height) >= 2 * SCREEN_SIZE


@require_safe
@signed_in
def image_screen(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """A large JPEG at the smallest of a half, a quarter and an eighth of its size that has `SCREEN_SIZE` pixels: of a
    half, a quarter of the bytes and of the browser's work.

    The scale is libjpeg's own, of its blocks: 15 ms for 2592x1944 pixels. It must hold all of a progressive file to
    reduce it, hundreds of megabytes: of that one the file itself is shown. 404 for an image that always is.
    """
    image = permissions.get_image_for(request.user, pk)
    if not _is_reducible(image):
        raise Http404("This image is shown as it is.")
    etag = f'"{image.stored_sha256}-{SCREEN_SIZE}"'
    unchanged = _unchanged(request, etag)
    if unchanged is not None:
        return unchanged
    reduced = _reduced(image)
    if not reduced:
        return redirect("diagnosis:image-file", pk)  # where its opening is recorded, as that of any file
    return _kept(HttpResponse(reduced, content_type="image/jpeg"), etag)


def _reduced(image: SmearImage) -> bytes:
    """The picture for the screen as JPEG; empty for a progressive file."""
    longest = max(image.width, image.height)
    with _open(image.file) as file, Image.open(file) as picture:
        if picture.info.get("progressive"):
            return b""
        # Rounded down: a pixel more than there is would have the next larger scale.
        picture.draft("RGB", tuple(max(1, side * SCREEN_SIZE // longest) for side in picture.size))
        return _jpeg(picture.convert("RGB"))


@require_safe
@signed_in
def image_thumbnail(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """A small JPEG: the worker's, or one drawn now for an image that no worker has seen yet."""
    image = permissions.get_image_for(request.user, pk)
    etag = f'"{image.stored_sha256}-{THUMBNAIL_SIZE}"'
    unchanged = _unchanged(request, etag)
    if unchanged is not None:
        return unchanged
    if image.thumbnail and image.thumbnail.storage.exists(image.thumbnail.name):
        return _kept(_send(image.thumbnail, "image/jpeg", f"image-{image.position}-small.jpg"), etag)
    return _kept(HttpResponse(_small(image), content_type="image/jpeg"), etag)


def _small(image: SmearImage) -> bytes:
    with _open(image.file) as file, Image.open(file) as picture:
        # A JPEG is decoded at an eighth of its size where that is enough: 5 ms instead of 40.
        picture.draft("RGB", (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
        small = picture.convert("RGB")
        small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX)
    return _jpeg(small)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@require_safe
@signed_in
def image_processed(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """What the network saw: the square of the newest analysis, or of the one named by `?analysis=`."""
    image = permissions.get_image_for(request.user, pk)
    analysis = analysis_of(request, image)
    if not analysis.processed:
        raise Http404("There is no processed picture of this image.")
    etag = f'"{analysis.processed.name.rsplit("/", 1)[-1]}"'
    return _unchanged(request, etag) or _kept(
        _send(analysis.processed, "image/png", f"image-{image.position}-processed.png"), etag
    )


@require_safe
@signed_in
def image_overlay(request: HttpRequest, pk: UUID, method: str) -> HttpResponseBase:
    """One method's overlay of the image or, with `?frame=processed`, of what the network saw."""
    image = permissions.get_image_for(request.user, pk)
    veil.require_image(request.user, image)
    analysis = analysis_of(request, image)
    if method not in METHODS or method not in analysis.maps:
        raise Http404("There is no such overlay of this image.")
    square = request.GET.get("frame") == "processed"
    etag = f'"{analysis.pk}-{method}-{"square" if square else "image"}"'
    unchanged = _unchanged(request, etag)
    if unchanged is not None:
        return unchanged
    size = (OVERLAY_SIZE, OVERLAY_SIZE) if square else overlay_size(image.width, image.height)
    picture = overlay_png(np.asarray(analysis.maps[method], dtype=np.float32), size)
    return _kept(HttpResponse(picture, content_type="image/png"), etag)


def sprite_url(image: UUID, cell_analysis: int) -> str:
    """Address of the tiles of one cell analysis: it never shows others, so a page and its picture agree."""
    return f"{reverse('diagnosis:image-sprite', args=[image])}?cells={cell_analysis}"


@require_safe
@signed_in
def image_sprite(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The tiles of an image's cells in one JPEG: those of the cell analysis named by `?cells=`."""
    image = permissions.get_image_for(request.user, pk)
    veil.require_image(request.user, image)
    wanted = request.GET.get("cells", "")
    found = (
        CellAnalysis.objects.filter(pk=wanted, analysis__image=image).first() if wanted.isdecimal() else None
    )
    if found is None or not found.sprite:
        raise Http404("There are no tiles of this image.")
    etag = f'"{found.sprite.name.rsplit("/", 1)[-1]}"'
    return _unchanged(request, etag) or _kept(
        _send(found.sprite, "image/jpeg", f"image-{image.position}-cells.jpg"), etag
    )


def saliency_url(cell: Cell) -> str:
    """Address of a cell's saliency overlay."""
    return reverse("diagnosis:cell-saliency", args=[cell.pk])


@require_safe
@signed_in
def cell_saliency(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The regions that influenced the score of a cell, to lay over its tile."""
    cell = permissions.get_cell_for(request.user, pk)
    veil.require_image(request.user, cell.cell_analysis.analysis.image)
    if not cell.saliency:
        raise Http404("There is no such overlay of this cell.")
    etag = f'"cell-{cell.pk}"'  # what a model saw in a cell is never edited
    unchanged = _unchanged(request, etag)
    if unchanged is not None:
        return unchanged
    picture = overlay_png(np.asarray(cell.saliency, dtype=np.float32), (CELL_OVERLAY_SIZE, CELL_OVERLAY_SIZE))
    return _kept(HttpResponse(picture, content_type="image/png"), etag)


def overlay_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the overlay of an image: the same shape, no larger than needed, never zero."""
    scale = min(1.0, OVERLAY_SIZE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def analysis_of(request: HttpRequest, image: SmearImage) -> Analysis:
    """The newest analysis of an image, or the one named by `?analysis=`."""
    wanted = request.GET.get("analysis")
    if wanted is None:
        analysis = image.newest_analysis
    else:
        try:
            analysis = image.analyses.filter(pk=UUID(wanted)).first()
        except ValueError:
            analysis = None
    if analysis is None:
        raise Http404("There is no such analysis of this image.")
    return analysis
