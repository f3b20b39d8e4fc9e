"""A report as `report_content` gives it, without a database: every section has something to say."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from PIL import Image

from diagnosis.services.report_evidence import LIMITS
from diagnosis.services.report_pictures import Pictures, _jpeg, _overlaid
from diagnosis.services.report_schema import Document
from ml.drawing import draw_field

SHA = "0123456789abcdef" * 4


def _probability(label: str, word: str, value: float, reweighted: float) -> dict[str, Any]:
    return {"label": label, "word": word, "malignant": label != "benign", "probability": value,
            "reweighted": reweighted}  # fmt: skip


def image(position: int, **more: Any) -> dict[str, Any]:
    """An image that the model calls pro-B, and that was read; every third is indeterminate and suspected by its
    cells, every fourth unread."""
    is_class = position % 3 != 0
    outcome = {
        "analysis": f"analysis-{position}", "state": "done", "kind": "class" if is_class else "indeterminate",
        "label": "pro" if is_class else "", "word": "pro-B" if is_class else "",
        "sentence": "pro-B, 98.2 %" if is_class else "indeterminate: unlike every field of the validation",
        "suspected": not is_class, "confidence": 0.982 if is_class else None,
        "interval": {"low": 0.951, "high": 0.993, "method": "Wilson"} if is_class else None,
        "confidence_reweighted": 0.11 if is_class else None,
        "interval_reweighted": {"low": 0.05, "high": 0.2, "method": "Wilson"} if is_class else None,
        "malignant_share_calibrated": 0.84, "malignant_share_here": 0.02,
        "probabilities": [
            _probability("benign", "benign (hematogones)", 0.01, 0.85),
            _probability("early", "early pre-B", 0.004, 0.02),
            _probability("pre", "pre-B", 0.004, 0.02),
            _probability("pro", "pro-B", 0.982, 0.11),
        ],
        "domain": {"inside": is_class, "percentile": 63.0, "score": 0.4, "threshold": 0.9},
        "reasons": [] if is_class else ["unlike every field of the validation"], "failure": "",
        "scope": "B-ALL only: does not exclude AML." if is_class else "",
        "subtype_notice": "The subtype needs immunophenotyping." if is_class else "",
        "model": "field-1", "finished_at": "2026-11-26T10:00:00Z",
    }  # fmt: skip
    review = {
        "id": position, "verdict": "agree", "label": "pro", "word": "pro-B", "sentence": "agrees: pro-B",
        "comment": "", "reader": "Hedy Hematologist", "reader_id": 2, "at": "2026-11-26T10:05:00Z", "stands": True,
        "blind_label": "pro", "blind_word": "pro-B",
    }  # fmt: skip
    return {
        "id": f"{position:08}-0000-4000-8000-000000000000", "position": position,
        "name": f"field {position}.jpg", "sha256": SHA,
        "stored_sha256": SHA, "format": "JPEG", "width": 2592, "height": 1944, "bytes": 1_000_000,
        "is_drawn": position == 2, "uploaded_at": "2026-11-26T09:00:00Z", "uploaded_by": "Tina Technician",
        "notes": [], "outcome": outcome, "review": review if position % 4 else None, "saliency": "gradcam",
        "saliency_word": "Grad-CAM", "saliency_words": "regions that influenced the score; not a lesion outline",
        "leukocytes": 14, "suspicion": 0.31, **more,
    }  # fmt: skip


def count(blasts: int) -> dict[str, Any]:
    """A count of 86 leukocytes and so many blasts."""
    rows = [("segmented_neutrophil", "segmented neutrophil", 40), ("lymphocyte", "lymphocyte", 31),
            ("monocyte", "monocyte", 6), ("promyelocyte", "promyelocyte", 9), ("blast", "blast", blasts)]  # fmt: skip
    total = sum(number for *_, number in rows)
    return {
        "counted": total,
        "classes": [
            {"label": label, "word": word, "blast": label == "blast", "count": number, "low": 1.5,
             "percent": round(100 * number / total, 2), "high": 55.0}
            for label, word, number in rows
        ],
        "blasts": blasts, "blasts_per_100": round(100 * blasts / total, 2), "blasts_low": 20.0, "blasts_high": 38.0,
        "erythroblasts": 3, "erythroblasts_per_100": 2.5, "smudge_cells": 4, "artefacts": 12, "unclassified": 5,
        "on_border": 9,
    }  # fmt: skip


def _figure(word: str, value: float) -> dict[str, Any]:
    return {"name": word, "word": word, "value": value, "low": value - 0.05, "high": min(1.0, value + 0.02), "n": 532,
            "groups": 16, "data": "taleqani-all", "split": "standing block split, test part"}  # fmt: skip


def document(*, images: int = 4, status: str = "final", **content: Any) -> Document:
    """A report of that status; what is given replaces parts of its content."""
    number = {"preliminary": 0, "final": 1, "amended": 2}[status]
    signature = {
        "name": "Dr. med. Hedy Hematologist", "username": "hedy", "user_id": 2, "role": "hematologist",
        "signed_at": "2026-11-26T10:20:00Z", "meaning": "I have examined the images of this case.",
        "statements": ["Image 4 was taken out: out of focus."],
    }  # fmt: skip
    amendment = {
        "reason": "The white cell count was corrected.", "opened_by": "Hedy", "opened_at": "2026-11-27T10:00:00Z",
        "amends": 1, "amends_sha256": "1f" * 32, "amends_signed_at": "2026-11-26T10:20:00Z",
        "amends_signer": "Dr. med. Hedy Hematologist",
        "changes": [{"what": "White cell count", "old": "12.3", "new": "123"},
                    {"what": "Image 3, review", "old": "", "new": "overruled: benign (hematogones)"}],
    }  # fmt: skip
    told = {
        "version": 1, "status": status, "number": number, "made_at": "2026-11-26T10:20:00Z",
        "laboratory": {"name": "Zentrallabor Süd", "address": "Hauptstraße 1\n80331 München", "turnaround_hours": 24},
        "case": {"id": 7, "accession_number": "H-1001", "patient_code": "P-17", "specimen": "blood",
                 "specimen_word": "peripheral blood", "age_years": 7, "white_cell_count": "12.3",
                 "received_on": "2026-11-25", "note": "Fever for two weeks."},
        "images": [image(position) for position in range(1, images + 1)],
        "leukocytes": {"found": True, "sentence": "", "model": count(30), "reader": count(34), "read": 12,
                       "sufficiency": "limited", "sufficiency_words": "Under 200 leukocytes: too few.",
                       "suspicion": 0.31, "suspicion_model": 0.29, "suspicion_highest": 0.5,
                       "suspicion_words": "index, not validated here", "problems": []},
        "alerts": [{"word": "Possible APL", "sentence": "9 promyelocytes of 120 leukocytes.",
                    "advice": "Look for Auer rods.", "limits": "It misses many."}],
        "conclusion": "Blasts with fine chromatin.\nALL is suspected." if number else "",
        "readers": [{"id": 2, "name": "Hedy Hematologist", "role": "hematologist", "images": 3, "cells": 12}],
        "models": [
            {"name": "field-1", "task": "field", "task_word": "subtype of a field", "bundle_sha256": "ef" * 32,
             "figures": [_figure("balanced accuracy", 0.95)], "here": "Not validated at a site.",
             "here_figures": [], "problem": ""},
            {"name": "cell-1", "task": "cell", "task_word": "class of one leukocyte", "bundle_sha256": "12" * 32,
             "figures": [], "here": "Measured at Microscope 1.", "here_figures": [_figure("balanced accuracy", 0.7)],
             "problem": "The evidence of this version can't be read any more."},
        ],
        "limits": list(LIMITS), "amendment": amendment if number == 2 else None,
        "signature": signature if number else None, **content,
    }  # fmt: skip
    versions = [
        {"number": one, "sha256": f"{one}f" * 32, "signed_at": "2026-11-26T10:20:00Z", "reason": "",
         "signer": "Dr. med. Hedy Hematologist"}
        for one in range(1, number + 1)
    ]  # fmt: skip
    seal = {"sha256": "7c" * 32, "audit_sequence": 412, "audit_head": "d0" * 32} if number else None
    return cast(Document, {"content": told, "seal": seal, "versions": versions, "superseded_by": None,
                           "amending": False})  # fmt: skip


def pictures(of: Document) -> dict[str, Pictures]:
    """A drawn field and its overlay for every image."""
    field = Image.fromarray(draw_field(np.random.default_rng(0), width=320, height=240))
    one = Pictures(_jpeg(field), _jpeg(_overlaid(field, np.eye(7).tolist())))
    return {image["id"]: one for image in of["content"]["images"]}
