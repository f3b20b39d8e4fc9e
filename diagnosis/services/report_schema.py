"""What a report holds: the one dictionary that is frozen, hashed, printed as PDF and told as FHIR.

Plain JSON throughout. Every number is rounded where it is written, so that equal content has equal canonical JSON
everywhere; shares and probabilities are 0 to 1, what ends in `percent` or `per_100` is 0 to 100. Dates are
`YYYY-MM-DD`, times ISO 8601 in UTC. What people read (`word`, `sentence`) stands beside what programs read (`label`).
A key that has nothing to say is None, an empty list or an empty string, and never left out.
"""

from __future__ import annotations

from typing import Final, TypedDict

VERSION: Final = 1
"""Of this layout. A content that was signed keeps the one it was made with."""


class Interval(TypedDict):
    """95 %. `method` names how it was found."""

    low: float
    high: float
    method: str


class LaboratoryPart(TypedDict):
    """The letterhead; `address` may have several lines."""

    name: str
    address: str
    turnaround_hours: int


class CasePart(TypedDict):
    """`white_cell_count` is 10^9/l as a decimal string, for it must not change on its way. `specimen` is "blood" or
    "marrow". `note` is the clinical note."""

    id: int
    accession_number: str
    patient_code: str
    specimen: str
    specimen_word: str
    age_years: int | None
    white_cell_count: str | None
    received_on: str
    note: str


class ClassProbability(TypedDict):
    """`probability` is calibrated at the prevalence the model was calibrated at, `reweighted` the same at the
    laboratory's own; None where the laboratory set none, or the bundle states none."""

    label: str
    word: str
    malignant: bool
    probability: float
    reweighted: float | None


class DomainPart(TypedDict):
    """`percentile`: share of held-out fields that lie nearer, 0 to 100. Inside where `score` is at most `threshold`."""

    inside: bool | None
    percentile: float | None
    score: float | None
    threshold: float | None


class OutcomePart(TypedDict):
    """Of the newest analysis of an image.

    `state`: "done", "failed", "queued", "running" or "none". `kind`: "class", "indeterminate" or "". `confidence` and
    its interval are those of `label`, and given for a class alone. `confidence_reweighted` and its interval are at
    `malignant_share_here`. `malignant_share_calibrated`: share of malignant images where the model was calibrated.
    """

    analysis: str
    state: str
    kind: str
    label: str
    word: str
    sentence: str
    suspected: bool
    confidence: float | None
    interval: Interval | None
    confidence_reweighted: float | None
    interval_reweighted: Interval | None
    malignant_share_calibrated: float | None
    malignant_share_here: float | None
    probabilities: list[ClassProbability]
    domain: DomainPart
    reasons: list[str]
    failure: str
    scope: str
    subtype_notice: str
    model: str
    finished_at: str | None


class ReviewPart(TypedDict):
    """`verdict`: "agree", "overrule" or "unsure". `label` is empty where the reader gave no class. `blind_label`: her
    class before the model's was shown to her. `stands`: whether it is of the newest analysis, or her own class."""

    id: int
    verdict: str
    label: str
    word: str
    sentence: str
    comment: str
    reader: str
    reader_id: int
    at: str
    stands: bool
    blind_label: str
    blind_word: str


class ImagePart(TypedDict):
    """`sha256` is of the file as uploaded, `stored_sha256` of what is kept and was analysed. `saliency`: the method
    whose map is shown first, "" without one; `saliency_words` what may be said of it. `leukocytes` counts those found
    whole in this image; `suspicion` is the index of its cells."""

    id: str
    position: int
    name: str
    sha256: str
    stored_sha256: str
    format: str
    width: int
    height: int
    bytes: int
    is_drawn: bool
    uploaded_at: str
    uploaded_by: str
    notes: list[str]
    outcome: OutcomePart
    review: ReviewPart | None
    saliency: str
    saliency_word: str
    saliency_words: str
    leukocytes: int | None
    suspicion: float | None


class CountRow(TypedDict):
    """One class of leukocytes: `percent` of those counted, with Wilson's interval."""

    label: str
    word: str
    blast: bool
    count: int
    percent: float
    low: float
    high: float


class CountPart(TypedDict):
    """A differential: the model's, or the reader's (the model's with her corrections). `classes` in the order of the
    task, those with a count alone. `*_per_100` are per 100 leukocytes, None where nothing was counted."""

    counted: int
    classes: list[CountRow]
    blasts: int
    blasts_per_100: float | None
    blasts_low: float | None
    blasts_high: float | None
    erythroblasts: int
    erythroblasts_per_100: float | None
    smudge_cells: int
    artefacts: int
    unclassified: int
    on_border: int


class LeukocytesPart(TypedDict):
    """`sentence` says why there is nothing to count, "" where something was found. `sufficiency`: "diagnostic" (from
    200), "limited" (from 100) or "insufficient", with `sufficiency_words`. `suspicion` is the index over the case with
    the reader's corrections, `suspicion_model` without, `suspicion_highest` the largest of one image."""

    found: bool
    sentence: str
    model: CountPart
    reader: CountPart
    read: int
    sufficiency: str
    sufficiency_words: str
    suspicion: float | None
    suspicion_model: float | None
    suspicion_highest: float | None
    suspicion_words: str
    problems: list[str]


class AlertPart(TypedDict):
    """A *possible APL* alert: `sentence` says on what it rests, `advice` what to do, `limits` what it can't say."""

    word: str
    sentence: str
    advice: str
    limits: str


class FigurePart(TypedDict):
    """One number of a model's evidence with its 95 % interval, its data, split, n and groups."""

    name: str
    word: str
    value: float
    low: float | None
    high: float | None
    n: int
    groups: int
    data: str
    split: str


class ModelPart(TypedDict):
    """A model version that judged something of this case. `here`: what was measured of it at a site of this laboratory,
    "" with empty `here_figures` where nothing was. `problem`: why there are no figures."""

    name: str
    task: str
    task_word: str
    bundle_sha256: str
    figures: list[FigurePart]
    here: str
    here_figures: list[FigurePart]
    problem: str


class ReaderPart(TypedDict):
    """Who read: `images` whose newest review is hers, `cells` whose newest class she gave."""

    id: int
    name: str
    role: str
    images: int
    cells: int


class ChangePart(TypedDict):
    """One difference between the report before and this one. `old` or `new` is "" where there was, or is, nothing."""

    what: str
    old: str
    new: str


class AmendmentPart(TypedDict):
    """Of which signed version this is an amendment, why, and every difference between the two."""

    reason: str
    opened_by: str
    opened_at: str
    amends: int
    amends_sha256: str
    amends_signed_at: str
    amends_signer: str
    changes: list[ChangePart]


class SignaturePart(TypedDict):
    """Printed name, role, time and meaning of the electronic signature (the elements of 21 CFR 11.50).

    `statements`: what the signer stated besides, a sentence each."""

    name: str
    username: str
    user_id: int
    role: str
    signed_at: str
    meaning: str
    statements: list[str]


class Content(TypedDict):
    """A report. `status`: "preliminary", "final" or "amended". `number` is that of the sign-out, 0 for a preliminary
    report, which has no `signature` and an empty conclusion. `statements_open`: what still stands in the way of a
    signature, for a preliminary report alone."""

    version: int
    status: str
    number: int
    made_at: str
    laboratory: LaboratoryPart
    case: CasePart
    images: list[ImagePart]
    leukocytes: LeukocytesPart
    alerts: list[AlertPart]
    conclusion: str
    readers: list[ReaderPart]
    models: list[ModelPart]
    limits: list[str]
    amendment: AmendmentPart | None
    signature: SignaturePart | None


class Seal(TypedDict):
    """What can't stand inside the content it is of: its SHA-256, and the link of the audit chain that records it."""

    sha256: str
    audit_sequence: int | None
    audit_head: str


class EarlierVersion(TypedDict):
    """A signed version before this one, or after it."""

    number: int
    sha256: str
    signed_at: str
    signer: str
    reason: str


class Document(TypedDict):
    """A report with what surrounds it: what writers of PDF and FHIR take. `superseded_by` is the number of the newest
    version where this is an earlier one, else None; `amending`: an amendment is open that nobody has signed yet."""

    content: Content
    seal: Seal | None
    versions: list[EarlierVersion]
    superseded_by: int | None
    amending: bool
