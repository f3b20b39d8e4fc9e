"""The study of the alert *possible APL*: who is counted, what the rule says of them, and the tables of the README."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from ml.cells.apl import LEAST_SHARE_OF_BLOOD
from ml.cells.counting import Counted, differential
from ml.evaluation.apl_rule import (
    BEGIN,
    END,
    Found,
    Patient,
    area,
    by_model,
    by_reader,
    main,
    markdown,
    most_of_a_class,
    pointed_out,
    rule_at,
    the_rule,
)
from ml.evaluation.predictions import Row, write_predictions_csv
from ml.tasks import CELL


def patient(name: str, promyelocytes: int, others: int, *, apl: bool) -> Patient:
    cells = [Counted("promyelocyte")] * promyelocytes + [Counted("lymphocyte")] * others
    return Patient(name, apl, differential(cells))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three patients: APL with many promyelocytes, APL without, and another AML with single ones."""
    folder = tmp_path / "data"
    folder.mkdir()
    cells = {
        ("P1", "APL"): {"promyelocyte": 10, "lymphocyte": 20, "smudge_cells": 5, "prolymphocyte": 1},
        ("P2", "APL"): {"segmented_neutrophils": 30},
        ("P3", "AML"): {"promyelocyte": 2, "blast-no_lineage_spec": 40, "giant_thrombocyte": 3},
    }
    with (folder / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "patient", "diagnosis"])
        for (name, diagnosis), labels in cells.items():
            for label, count in labels.items():
                for n in range(count):
                    table.writerow([f"{label}/{name}_{n}.webp", label, name, diagnosis])
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle tested on two of them: it calls ten cells of the second promyelocytes, two of them out of domain."""

    def row(name: str, number: int, said: str, inside: bool, source: str = "deepapl-discovery") -> Row:
        return Row(
            name=f"{name}_{number}", sha256=f"{number:064}", label="lymphocyte", group=f"{source}/{name}", site="",
            predicted=said, kept=inside, inside_domain=inside, domain_score=0.5, reasons=(),
            probabilities=tuple(float(one == said) for one in CELL.classes),
        )  # fmt: skip

    rows = [row("P1", n, "lymphocyte", True) for n in range(25)]
    rows += [row("P2", n, "promyelocyte", n >= 2) for n in range(10)]
    rows += [row("P2", 20 + n, "lymphocyte", True) for n in range(20)]
    rows += [row("image 1", 0, "promyelocyte", True, source="pbc-acevedo")]
    folder = tmp_path / "cell-9"
    (folder / "evidence").mkdir(parents=True)
    write_predictions_csv(folder / "evidence" / "predictions.csv", rows, CELL.classes)
    return folder


def test_the_readers_classes_are_counted_a_patient(data: Path) -> None:
    one, two, three = by_reader(data)

    assert [p.has_apl for p in (one, two, three)] == [True, True, False]
    assert (one.count.promyelocytes, one.count.total, one.count.smudges) == (10, 30, 5)
    assert (two.count.promyelocytes, two.count.total) == (0, 30)
    assert (three.count.promyelocytes, three.count.total, three.count.blasts) == (2, 42, 40)
    assert most_of_a_class(data) == 40


def test_the_bundles_classes_count_inside_its_domain_alone(data: Path, bundle: Path) -> None:
    one, two = by_model(data, bundle / "evidence" / "predictions.csv")

    assert (one.name, one.count.promyelocytes, one.count.total) == ("P1", 0, 25)
    assert (two.name, two.count.promyelocytes, two.count.total, two.has_apl) == ("P2", 8, 28, True)


def test_the_rule_is_counted_on_both_sides(data: Path) -> None:
    assert pointed_out(by_reader(data), the_rule) == Found(2, 1, 1, 0)


def test_the_rules_own_limit_is_the_rule() -> None:
    some = [patient(f"P{n}-{m}", n, m, apl=True) for n in range(0, 40, 3) for m in range(0, 120, 7)]
    own = rule_at(LEAST_SHARE_OF_BLOOD)

    assert [own(one) for one in some] == [the_rule(one) for one in some]
    assert pointed_out(some, rule_at(0.2)).apl_pointed_out < pointed_out(some, the_rule).apl_pointed_out


def test_the_area_is_one_where_shares_part_the_patients_and_half_where_they_are_alike() -> None:
    parted = [patient(f"A{n}", 10 + n, 20, apl=True) for n in range(5)]
    parted += [patient(f"B{n}", n, 40, apl=False) for n in range(5)]
    alike = [patient(f"P{n}", 5, 20, apl=n % 2 == 0) for n in range(10)]

    assert area(parted, resamples=50) == (1.0, 1.0, 1.0)
    assert area(alike, resamples=50) == (0.5, 0.5, 0.5)
    assert math.isnan(area([patient("A", 1, 1, apl=True)], resamples=5)[0])


def test_the_tables_say_every_number_with_its_n_and_interval(data: Path, bundle: Path) -> None:
    reader, model = by_reader(data), by_model(data, bundle / "evidence" / "predictions.csv")
    text = markdown(reader, model, bundle="cell-9", most=40)

    assert "| the set's reader, all patients | 2 + 1 | 1 of 2: 0.500 (0.095 to 0.905) | 1 of 1: 1.000" in text
    assert (
        "| cell-9, patients of its test part | 2 + 0 | 1 of 2: 0.500 (0.095 to 0.905) | not defined" in text
    )
    assert "at most 40 cells of a class" in text
    assert "1 of the 2 have fewer than 5 promyelocytes" in text


def test_the_command_writes_between_the_marks_and_nowhere_else(
    data: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    command = ["apl_rule", "--data", str(data), "--bundle", str(bundle), "--readme", str(page)]
    monkeypatch.setattr("sys.argv", command)
    main()
    text = page.read_text()

    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text.split(BEGIN)[1].split(END)[0].split()
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the marks"):
        main()
