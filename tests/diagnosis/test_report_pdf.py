"""The printed report: what stands on it, that nothing typed becomes an instruction, and PDF/A."""

from __future__ import annotations

import subprocess
from copy import deepcopy
from typing import Any

import pypdfium2
import pytest

from diagnosis.services import report_pdf
from diagnosis.services.report_pdf import ReportNotMade
from diagnosis.services.report_schema import Document
from tests.diagnosis.pdf_reading import pdfa_problems, text_of, words_of
from tests.diagnosis.told_report import document, image, pictures


def printed(told: Document) -> bytes:
    return report_pdf.render(document=told, pictures=pictures(told))


@pytest.mark.parametrize("status", ["preliminary", "final", "amended"])
def test_it_is_pdf_a_in_every_state(status: str) -> None:
    assert pdfa_problems(printed(document(status=status))) == []


def test_the_check_of_pdf_a_finds_what_it_looks_for() -> None:
    content = printed(document(images=1))
    assert pdfa_problems(content.replace(b"<pdfaid:part>2", b"<pdfaid:part>1")) != []
    assert pdfa_problems(content.replace(b"/GTS_PDFA1", b"/GTS_NONE1")) == ["has no output intent"]
    assert "holds /JavaScript" in pdfa_problems(content + b"/JavaScript")


def test_a_signed_report_says_everything() -> None:
    words = words_of(printed(document()))
    for said in (
        "Zentrallabor Süd", "80331 München", "Final report", "Accession number H-1001", "Patient code P-17",
        "12.3 × 10⁹/l", "25 Nov 2026", "Fever for two weeks.", "Possible APL:", "Look for Auer rods.",
        "It misses many.",
        "Blasts with fine chromatin. ALL is suspected.", "▲ Leukemia suspected by the model, in image 3",
        "28.3 (95 % interval 20.0 to 38.0; 34 of 120)", "Under 200 leukocytes: too few.", "promyelocyte 9",
        "3 (2.5 per 100)", "field 1.jpg", "pro-B, 98.2 %", "95 % interval 95.1 % to 99.3 %",
        "11.0 % (95 % interval 5.0 % to 20.0 %) where 2.0 % are malignant", "indeterminate: unlike every field",
        "before the model's class was shown: pro-B", "not read", "drawn by software, no patient's",
        "B-ALL only: does not exclude AML.", "needs immunophenotyping", "regions that influenced the score",
        "regions that influenced a score that is not a result",
        "SHA-256 0123456789abcdef", "bundle SHA-256 efef", "taleqani-all, standing block split, test part",
        "0.950 0.900 to 0.970 532 in 16 groups", "Measured at Microscope 1.", "Research use only",
        "Dr. med. Hedy Hematologist", "26 Nov 2026, 10:20 UTC", "I have examined the images of this case.",
        "Image 4 was taken out: out of focus.", "7c" * 32, "link 412", "d0" * 32,
    ):  # fmt: skip
        assert said in words, said
    assert "PRELIMINARY" not in words


def test_every_page_says_which_it_is_of_how_many_and_of_what() -> None:
    pages = text_of(printed(document(images=9)))
    assert len(pages) >= 3
    for number, page in enumerate(pages, 1):
        assert f"page {number} of {len(pages)}" in page
        assert "Research use only: it supports a reader and never replaces one." in page
        assert "signed content 7c7c7c7c7c7c7c7c" in page
    for page in pages[1:]:
        assert "H-1001 · patient P-17" in page
        assert "Final report" in page


def test_a_preliminary_report_can_not_be_taken_for_another() -> None:
    pages = text_of(printed(document(status="preliminary")))
    assert all("PRELIMINARY" in page for page in pages)
    words = " ".join(" ".join(pages).split())
    assert "Not signed: it may still change" in words
    assert "None yet: the report is not signed." in words
    assert "This report is not signed." in words
    assert "signed content" not in words


def test_an_amendment_shows_old_and_new() -> None:
    words = words_of(printed(document(status="amended")))
    assert "Amended report, version 2. It takes the place of version 1." in words
    assert "Amends version 1 of 26 Nov 2026, 10:20 UTC" in words
    assert "White cell count 12.3 123" in words
    assert "Image 3, review nothing overruled: benign (hematogones)" in words
    assert "Version 1, 26 Nov 2026" in words
    assert "1f" * 32 in words


def test_an_earlier_version_says_what_has_taken_its_place() -> None:
    told = document()
    told["superseded_by"] = 3
    pages = text_of(printed(told))
    assert "No longer valid: version 3 has taken its place." in pages[0]
    assert all("SUPERSEDED" in page for page in pages)


def test_an_open_amendment_is_told() -> None:
    told = document()
    told["amending"] = True
    assert "An amendment is being written and not signed yet." in words_of(printed(told))


INSTRUCTIONS = [
    '#import "@preview/cetz:0.2.0"', "#panic()", "$ x $", "*bold* _italic_ `raw`", "= heading", "@reference <label>",
    "// comment", "\\ #sys.inputs", "[content] {code}", '"quoted" \'quoted\'', "-- --- ...", "+ list", "/ term: x",
    '#read("/etc/passwd")', "https://example.org",
]  # fmt: skip


def test_what_people_type_prints_as_itself() -> None:
    told = document(images=1, conclusion="\n".join(INSTRUCTIONS))
    told["content"]["images"][0]["name"] = INSTRUCTIONS[0]
    told["content"]["case"]["accession_number"] = "#H-*1*"
    told["content"]["laboratory"]["name"] = "$a$ #b"
    content = printed(told)
    words = words_of(content)
    for text in [*INSTRUCTIONS, "#H-*1*", "$a$ #b"]:
        assert text in words, text
    assert words.count(INSTRUCTIONS[0]) == 2
    assert pdfa_problems(content) == []


@pytest.mark.parametrize(
    "text",
    ["日本語 🧬 \x00 \u202e \ue000", "مرحبا שלום", "x" * 3000, "Ω" * 500, "a\n\n\n\nb\n", "\u0301", "𐀀"],
)
def test_no_text_keeps_a_report_from_being_made(text: str) -> None:
    told = document(images=1, conclusion=text)
    told["content"]["case"]["note"] = told["content"]["case"]["patient_code"] = text
    told["content"]["laboratory"]["name"] = told["content"]["images"][0]["name"] = text
    assert pdfa_problems(printed(told)) == []


def outside(content: bytes) -> list[tuple[int, float, float]]:
    """Places of text beyond the margins of the paper."""
    found = []
    with pypdfium2.PdfDocument(content) as pdf:
        for number, page in enumerate(pdf, 1):
            width, height = page.get_size()
            textpage = page.get_textpage()
            for index in range(textpage.count_chars()):
                left, bottom, right, top = textpage.get_charbox(index)
                if right > left and not (
                    30 <= left <= right <= width - 30 and 15 <= bottom <= top <= height - 15
                ):
                    found.append((number, round(left), round(bottom)))
    return found


def test_forty_images_and_the_longest_texts_stay_on_the_paper() -> None:
    told = document(images=40, conclusion="A very long finding. " * 380)
    case, first, second = told["content"]["case"], *told["content"]["images"][:2]
    case["accession_number"], case["patient_code"] = "W" * 64, "M" * 64
    told["content"]["laboratory"]["name"] = "Ü" * 200
    first["name"], second["name"] = "f" * 255, "word " * 51
    assert second["review"] is not None
    second["review"]["comment"] = "A long comment. " * 250
    content = printed(told)
    assert outside(content) == []
    words = words_of(content)
    assert all(f"Image {position} " in words for position in range(1, 41))
    assert words.count("A very long finding.") >= 375  # the foot of a page may stand in one
    assert pdfa_problems(content) == []


def test_an_image_whose_file_is_gone_is_told_as_such() -> None:
    told = document(images=2)
    some = pictures(told)
    gone = "The picture can't be read any more."
    assert gone not in words_of(printed(told))
    del some[told["content"]["images"][0]["id"]]
    assert words_of(report_pdf.render(document=told, pictures=some)).count(gone) == 1


def test_a_case_without_images_cells_or_models_is_printed() -> None:
    told = document(status="preliminary", images=0, models=[], readers=[], alerts=[])
    told["content"]["leukocytes"] |= {
        "found": False,
        "sentence": "None of the images was analysed.",
        "suspicion": None,
    }
    told["content"]["case"] |= {"age_years": None, "white_cell_count": None, "note": ""}
    content = printed(told)
    assert "None of the images was analysed." in words_of(content)
    assert "not given" in words_of(content)
    assert pdfa_problems(content) == []


@pytest.mark.parametrize(
    ("state", "sentence"),
    [("failed", "analysis failed: the file is gone"), ("queued", "waiting to be analysed")],
)
def test_an_unfinished_analysis_is_told(state: str, sentence: str) -> None:
    one = image(1, saliency="", leukocytes=None, review=None)
    one["outcome"] |= {"state": state, "kind": "", "label": "", "sentence": sentence, "confidence": None,
                       "interval": None, "confidence_reweighted": None, "probabilities": [], "suspected": False,
                       "domain": dict.fromkeys(("inside", "percentile", "score", "threshold"))}  # fmt: skip
    told = document(status="preliminary", images=0)
    told["content"]["images"] = [one]  # type: ignore[list-item]
    assert sentence in words_of(printed(told))


def test_the_same_report_is_the_same_file() -> None:
    told = document(images=2)
    assert printed(told) == printed(deepcopy(told))


def test_suspicion_alone_is_red() -> None:
    """Red pixels of a page without suspicion: none. The overlay is amber."""
    told = document(images=2, status="amended")
    assert _red(printed(told)) == 0
    told["content"]["images"][0]["outcome"]["suspected"] = True
    assert _red(printed(told)) > 100


def _red(content: bytes) -> int:
    with pypdfium2.PdfDocument(content) as pdf:
        total = 0
        for page in pdf:
            pixels = page.render(scale=1).to_numpy()[..., :3].astype(int)  # BGR
            blue, green, red = pixels[..., 0], pixels[..., 1], pixels[..., 2]
            total += int(((red > 150) & (green < 70) & (blue < 90)).sum())
        return total


def test_what_typst_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Any, made_at: int, _real: Any = report_pdf._typeset) -> bytes:
        (folder / "report.typ").write_text("#nothing-of-this-name")
        return _real(folder, made_at)

    monkeypatch.setattr(report_pdf, "_typeset", broken)
    with pytest.raises(ReportNotMade, match="unknown variable"):
        printed(document(images=1))


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], **more: Any) -> None:
        raise subprocess.TimeoutExpired(command, more["timeout"])

    monkeypatch.setattr(report_pdf.subprocess, "run", slow)
    with pytest.raises(ReportNotMade, match="within 60 seconds"):
        printed(document(images=1))
