"""Who may do what, as one table: every URL of the application, and the status that each role gets.

A new URL needs a row here (test_permission_table.py fails without one, and says so): in READS if a GET shows
something, in WRITES if a POST changes something, in both if it does both. The address of a row is found by `address`:
name there what its URL is about, unless it takes no argument or the image's key. Another laboratory's people must get
404 for whatever belongs to this one. Strangers are always sent to log in; no row says so.
"""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from diagnosis.models import Cell, Site, SmearImage, Training

WHO = ("technician", "hematologist", "laboratory_head", "administrator", "outsider")
"""The columns after the name. `outsider` is a hematologist of another laboratory; where she gets 404, the administrator
of that laboratory must get it too."""

READS = [
    ("worklist", 200, 200, 200, 200, 200),
    ("queue-live", 200, 200, 200, 200, 200),
    ("case-new", 200, 200, 200, 200, 200),
    ("case", 200, 200, 200, 200, 404),
    ("case-live", 200, 200, 200, 200, 404),
    ("image-file", 200, 200, 200, 200, 404),
    ("image-thumbnail", 200, 200, 200, 200, 404),
    ("image-processed", 200, 200, 200, 200, 404),
    ("image-overlay", 200, 200, 200, 200, 404),
    ("image-sprite", 404, 404, 404, 404, 404),  # without `?cells=`; test_pages_cells names them
    ("image-cells", 200, 200, 200, 200, 404),
    ("cells", 200, 200, 200, 200, 404),
    ("cells-rows", 200, 200, 200, 200, 404),
    ("cell", 302, 302, 302, 302, 404),
    ("cell-saliency", 200, 200, 200, 200, 404),
    ("history", 200, 200, 200, 200, 200),
    ("models", 403, 200, 200, 200, 200),
    ("bundle-evidence", 403, 200, 200, 200, 404),
    ("trainings-live", 403, 200, 200, 200, 200),
    ("training", 403, 200, 200, 200, 404),
    ("training-live", 403, 200, 200, 200, 404),
    ("sites", 403, 200, 200, 200, 200),
    ("site", 403, 200, 200, 200, 404),
    ("promote", 403, 403, 403, 200, 404),
    ("judgement-live", 403, 403, 403, 204, 404),
]

WRITES = [
    ("upload", 302, 302, 302, 302, 404),
    ("sample", 302, 302, 302, 302, 404),
    ("review", 403, 302, 302, 302, 404),
    ("retry", 302, 302, 302, 302, 404),
    ("cells-read", 403, 400, 400, 400, 404),
    ("cells-undo", 403, 400, 400, 400, 404),
    ("judge", 403, 403, 403, 302, 404),
    ("roll-back", 403, 403, 403, 302, 404),
    ("shadow", 403, 403, 403, 302, 404),
    ("retire", 403, 403, 403, 302, 404),
]

PLAIN = {"worklist", "queue-live", "case-new", "history", "models", "trainings-live", "sites"}
"""Rows whose URL takes no argument."""

OF_A_CASE = {"case", "case-live", "upload", "sample", "cells", "cells-rows", "cells-read", "cells-undo"}
OF_A_VERSION = {"promote", "judgement-live", "judge", "roll-back", "shadow", "retire"}
OF_A_CELL = {"cell", "cell-saliency"}


def posted(image: SmearImage) -> dict[str, Any]:
    """What every row of WRITES is sent."""
    return {"verdict": "agree", "analysis": image.newest_analysis_id, "cells": "?"}


def address(name: str, image: SmearImage) -> str:
    """The URL of a row, about `image` and its case; an image's own key is what a URL takes unless said otherwise."""
    if name in PLAIN:
        arguments: list[Any] = []
    elif name in OF_A_CASE:
        arguments = [image.case_id]
    elif name in OF_A_VERSION:
        arguments = [image.newest_analysis.model_version_id]
    elif name in OF_A_CELL:
        arguments = [Cell.objects.get().pk]
    elif name in ("training", "training-live"):
        arguments = [Training.objects.get().pk]
    elif name == "site":
        arguments = [Site.objects.get().pk]
    elif name == "image-overlay":
        arguments = [image.pk, "gradcam++"]
    elif name == "bundle-evidence":
        arguments = [image.newest_analysis.model_version_id, "metrics.json"]
    else:
        arguments = [image.pk]
    return reverse(f"diagnosis:{name}", args=arguments)
