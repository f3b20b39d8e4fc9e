"""What the API takes and gives. Words are those of the pages and of `manage.py analyze --json`."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _no_nul(value: str) -> str:
    if "\x00" in value:  # PostgreSQL keeps no such text, and would say so by an error
        raise ValueError("A text can't hold the character NUL.")
    return value


def _whole(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("A text can't hold half a character (a lone surrogate).") from None
    return value


def _of_our_time(value: Any) -> Any:
    if not 1900 <= value.year <= 2200:
        raise ValueError("Choose a year between 1900 and 2200.")
    return value


Written = Annotated[str, AfterValidator(_whole)]
Text = Annotated[str, AfterValidator(_no_nul), Field(max_length=200)]
SiteName = Annotated[
    Text,
    Field(description="The site (microscope, stain and camera) that made it, by its name in the laboratory."),
]
Day = Annotated[datetime.date, AfterValidator(_of_our_time)]
Moment = Annotated[AwareDatetime, AfterValidator(_of_our_time)]
Specimen = Literal["blood", "marrow"]
CaseStatus = Literal["preliminary", "final", "amended"]
AnalysisState = Literal["none", "queued", "running", "done", "failed"]
Verdict = Literal["agree", "overrule", "unsure", "withdraw"]


class CaseFacts(BaseModel):
    """A new case."""

    model_config = ConfigDict(extra="forbid")

    # Lengths stand in the schema for who writes a client; intake judges them, in the sentences of the page.
    accession_number: Written = Field(json_schema_extra={"minLength": 1, "maxLength": 64})
    patient_code: Written = Field(
        description="A pseudonym, never a name.", json_schema_extra={"minLength": 1, "maxLength": 64}
    )
    specimen: Specimen = "blood"
    age_years: int | None = Field(None, ge=0, le=130, description="Of the patient, when it was taken.")
    white_cell_count: Decimal | None = Field(
        None, ge=0, lt=10_000, max_digits=7, decimal_places=2, allow_inf_nan=False,
        description="Leukocytes, 10^9/l.",
    )  # fmt: skip
    received_on: Day | None = Field(None, description="Today where nothing is said.")
    note: Written = Field("", description="Clinical note.", json_schema_extra={"maxLength": 4000})


class CaseFilters(BaseModel):
    """What a list of cases is narrowed to."""

    accession_number: Text | None = Field(None, description="Exactly this one.")
    patient_code: Text | None = Field(None, description="Exactly this one.")
    specimen: Specimen | None = None
    status: CaseStatus | None = Field(None, description="Of the report.")
    received_from: Day | None = None
    received_until: Day | None = None
    created_after: Moment | None = Field(None, description="With a time zone.")
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=200, description="`next` of the page before.")


class ImageCounts(BaseModel):
    """The images of a case by what they are, each by its newest analysis and reading."""

    total: int
    unfinished: int
    failed: int
    indeterminate: int
    suspected: int
    read: int


class CaseOut(BaseModel):
    id: int
    accession_number: str
    patient_code: str
    specimen: Specimen
    age_years: int | None
    white_cell_count: float | None
    received_on: datetime.date
    note: str
    status: CaseStatus
    assigned_to: str | None
    created_at: datetime.datetime
    created_by: str
    images: ImageCounts
    links: dict[str, str]


class CaseList(BaseModel):
    cases: list[CaseOut]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class AnalysisOut(BaseModel):
    """The newest analysis of an image; `failure` says in a sentence why one failed."""

    id: UUID | None
    state: AnalysisState
    queued_at: datetime.datetime | None
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    failure: str | None
    model_version: str | None


class ImageOut(BaseModel):
    """`sha256` is that of the file as it was sent. `notes`: what was converted on reading it."""

    id: UUID
    case: int
    position: int
    name: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    notes: list[str]
    site: str | None = Field(description="The site that made it, where it is known.")
    uploaded_at: datetime.datetime
    analysis: AnalysisOut
    links: dict[str, str]


class ImageList(BaseModel):
    images: list[ImageOut]


class ReviewOut(BaseModel):
    """The reading that counts. `label` is null where the reader gave no class; `stands` is false once the image was
    analysed anew."""

    verdict: Verdict
    label: str | None
    comment: str
    reader: str
    at: datetime.datetime
    stands: bool


class CellOut(BaseModel):
    """One thing found in a field. `label` is null where the model was not entitled to class it; `reader_label` is
    null where nobody re-classed it."""

    box: list[int] = Field(description="x, y, width, height, in pixels of the stored image.")
    kind: str
    label: str | None
    probabilities: dict[str, float]
    blast_probability: float | None
    area_um2: float
    nucleus_um2: float
    confidence: float
    touches_border: bool
    inside_domain: bool | None
    domain_score: float | None
    reader_label: str | None


class ResultOut(BaseModel):
    """What `manage.py analyze --json` says of an image, with what only a stored analysis has.

    `confidence` and its interval are those of `label`, calibrated at `malignant_share_calibrated`; `reweighted` are
    the probabilities at the laboratory's own share of malignant fields, null where it set none. `notices` must stand
    wherever the outcome is shown.
    """

    image: UUID
    name: str
    position: int
    analysis: UUID | None
    state: AnalysisState
    failure: str | None
    outcome: Literal["class", "indeterminate"] | None
    label: str | None
    probabilities: dict[str, float]
    confidence: float | None
    confidence_interval: list[float] | None = Field(description="95 %, low and high.")
    malignant_share_calibrated: float | None
    malignant_share_here: float | None
    reweighted: dict[str, float] | None
    domain_score: float | None
    domain_threshold: float | None
    inside_domain: bool | None
    reasons: list[str]
    suspected: bool
    model_version: str | None
    cells: list[CellOut] | None = Field(
        description="Null where none were looked for, or they were not asked."
    )
    suspicion: float | None = Field(description="Index from 0 to 1, no probability, not validated here.")
    cell_model_version: str | None
    cell_problems: list[str]
    timings_ms: dict[str, float]
    finished_at: datetime.datetime | None
    review: ReviewOut | None
    notices: list[str]


class CountOut(BaseModel):
    """One class of a differential; per 100 leukocytes, with Wilson's 95 % interval."""

    label: str
    blast: bool
    count: int
    per_100: float
    interval: list[float]


class DifferentialOut(BaseModel):
    """A count of whole leukocytes. `sufficient` from 100 on, `diagnostic` from 200."""

    counted: int
    classes: list[CountOut]
    blasts_per_100: float | None
    blasts_interval: list[float] | None
    erythroblasts_per_100: float | None
    erythroblasts: int
    smudge_cells: int
    platelets_or_artefacts: int
    unclassified: int
    on_border: int
    sufficient: bool
    diagnostic: bool


class AlertOut(BaseModel):
    word: str
    sentence: str
    advice: str
    limits: str


class CellCountsOut(BaseModel):
    """The leukocytes of a case: the model's count, and the reader's, which is the model's with her corrections."""

    case: int
    model: DifferentialOut
    reader: DifferentialOut
    suspicion: float | None
    reader_suspicion: float | None
    highest_suspicion: float | None
    cells_read: int
    alerts: list[AlertOut]
    notices: list[str]


class CaseResults(BaseModel):
    """The results of a case. `finished` once no analysis is queued or running."""

    case: int
    accession_number: str
    status: CaseStatus
    finished: bool
    suspected: bool
    results: list[ResultOut]


class SignatureOut(BaseModel):
    """A sign-out. Number 1 made the report final, each later one amended it, for `reason`."""

    number: int
    signed_at: datetime.datetime
    signer: str
    role: str
    meaning: str
    reason: str
    conclusion: str
    content_sha256: str
    audit_sequence: int | None
    audit_head: str
    links: dict[str, str]


class ReportOut(BaseModel):
    """Where the report of a case stands. `links.pdf` and `links.fhir` give the newest; while it is preliminary, one
    that says so."""

    case: int
    accession_number: str
    status: CaseStatus
    amending: bool = Field(description="Whether an amendment is open: another report will follow.")
    signatures: list[SignatureOut]
    links: dict[str, str]
