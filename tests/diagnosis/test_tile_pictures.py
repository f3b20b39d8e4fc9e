"""Tiles cut from sheets: the right ones, each sheet opened once, and no more of them than a page can wait for."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diagnosis.services import tile_pictures
from diagnosis.services.tile_pictures import Place
from diagnosis.storage import smear_storage

SIDE, COLUMNS, ROWS = 16, 3, 2


def sheet(name: str) -> str:
    """Store a sheet whose tiles are grey, tile n at 40 * n."""
    grey = np.arange(COLUMNS * ROWS).reshape(ROWS, COLUMNS) * 40
    pixels = np.repeat(np.repeat(grey, SIDE, 0), SIDE, 1).astype(np.uint8)
    path = Path(smear_storage().path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert("RGB").save(path, "JPEG", quality=95)
    return name


def place(name: str, number: int) -> Place:
    return Place(name, COLUMNS, SIDE, number)


def pixels(address: str) -> np.ndarray:
    kind, data = address.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_each_tile_is_the_one_that_was_asked_for() -> None:
    one, other = sheet("sprites/one.jpg"), sheet("sprites/other.jpg")
    cut = tile_pictures.as_data_urls([place(one, 5), place(other, 0), place(one, 2), place(one, 5)])

    assert [pixels(address).shape for address in cut] == [(SIDE, SIDE, 3)] * 4
    assert [round(float(pixels(address).mean()), -1) for address in cut] == [200, 0, 80, 200]


def test_each_sheet_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    really = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), really(path))[1])
    one = sheet("sprites/one.jpg")
    tile_pictures.as_data_urls([place(one, n) for n in range(6)])
    assert len(opened) == 1


def test_what_is_lost_broken_or_not_there_is_empty() -> None:
    good, broken = sheet("sprites/good.jpg"), sheet("sprites/broken.jpg")
    path = Path(smear_storage().path(broken))
    path.write_bytes(path.read_bytes()[:300])
    cut = tile_pictures.as_data_urls(
        [place("sprites/lost.jpg", 0), place(broken, 4), place(good, 6), place(good, 1), place("", 0)]
    )
    assert [bool(address) for address in cut] == [False, False, False, True, False]


def test_no_more_is_opened_than_a_page_can_wait_for() -> None:
    names = [sheet(f"sprites/{n}.jpg") for n in range(4)]
    area = SIDE * COLUMNS * SIDE * ROWS
    cut = tile_pictures.as_data_urls([place(name, 1) for name in names], most_pixels=2 * area)
    assert [bool(address) for address in cut] == [True, True, False, False]
