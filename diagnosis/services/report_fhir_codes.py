"""Codes of the FHIR report: LOINC where a term says exactly what we count, our own for the rest.

A wrong code is worse than none. LOINC's differential terms of blood, method unspecified, name a class per 100
leukocytes, as our counts are made (they are those of LOINC's panel 69738-3). Those of bone marrow count per 100
nucleated cells, erythroblasts among them, which ours do not: a marrow's classes bear our codes alone. *Blasts per 100*
are blasts and promonocytes together, for which LOINC has no term; the class blast has one.
"""

from __future__ import annotations

from typing import Any, Final

LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
OURS: Final = "urn:leukoscope:codes"
"""The system of our own codes: labels of classes as bundles name them, and the words below."""
NOWHERE: Final = "urn:leukoscope"
"""In the place of an installation's address, where none is known."""

LABORATORY_REPORT: Final = ("11502-2", "Laboratory report")
HEMATOLOGY_STUDIES: Final = ("18723-7", "Hematology studies (set)")
WHITE_CELL_COUNT: Final = ("26464-8", "Leukocytes [#/volume] in Blood")
AGE: Final = ("30525-0", "Age")
ERYTHROBLASTS: Final = ("19048-8", "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood")
DIFFERENTIAL: Final = {
    "blood": ("69738-3", "Differential panel, method unspecified - Blood"),
    "marrow": ("47286-0", "Differential panel - Bone marrow"),
}

OF_BLOOD: Final[dict[str, tuple[str, str]]] = {
    "segmented_neutrophil": ("26505-8", "Segmented neutrophils/100 leukocytes in Blood"),
    "band_neutrophil": ("26508-2", "Band form neutrophils/100 leukocytes in Blood"),
    "eosinophil": ("26450-7", "Eosinophils/100 leukocytes in Blood"),
    "basophil": ("30180-4", "Basophils/100 leukocytes in Blood"),
    "lymphocyte": ("26478-8", "Lymphocytes/100 leukocytes in Blood"),
    "variant_lymphocyte": ("13046-8", "Variant lymphocytes/100 leukocytes in Blood"),
    "monocyte": ("26485-3", "Monocytes/100 leukocytes in Blood"),
    "promyelocyte": ("26524-9", "Promyelocytes/100 leukocytes in Blood"),
    "myelocyte": ("26498-6", "Myelocytes/100 leukocytes in Blood"),
    "metamyelocyte": ("28541-1", "Metamyelocytes/100 leukocytes in Blood"),
    "plasma_cell": ("13047-6", "Plasma cells/100 leukocytes in Blood"),
    "promonocyte": ("30466-7", "Promonocytes/100 leukocytes in Blood"),
    "blast": ("26446-5", "Blasts/100 leukocytes in Blood"),
}

SPECIMEN_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v2-0487"
SPECIMENS: Final = {"blood": ("BLD", "Whole blood"), "marrow": ("MAR", "Marrow")}
SECTION_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
CATEGORY_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
MEDIA_TYPE_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/media-type"
ABSENT_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
COMPOSITION_OF_REPORT: Final = (
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition"
)


def coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(text: str, *codings: dict[str, str]) -> dict[str, Any]:
    return {**({"coding": list(codings)} if codings else {}), "text": text}


def loinc(term: tuple[str, str]) -> dict[str, str]:
    return coding(LOINC, *term)


def of_class(label: str, word: str, specimen: str) -> dict[str, Any]:
    """The code of a class of leukocytes per 100."""
    term = OF_BLOOD.get(label) if specimen == "blood" else None
    known = [loinc(term)] if term is not None else []
    return concept(f"{word} per 100 leukocytes", *known, coding(OURS, label))


def quantity(value: float, unit: str, code: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def percent(value: float) -> dict[str, Any]:
    return quantity(round(value, 2), "%", "%")


def per_100(value: float) -> dict[str, Any]:
    return quantity(round(value, 2), "per 100 leukocytes", "/100{WBCs}")


HEMATOLOGY: Final = [
    concept("Hematology", coding(SECTION_SYSTEM, "HM", "Hematology"), loinc(HEMATOLOGY_STUDIES))
]  # the same of report and composition
