"""What the quality page shows, as data: a period, and every figure, table and chart of a laboratory over it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from diagnosis import quality_charts
from diagnosis.models import ModelVersion
from diagnosis.quality_charts import Chart, Row
from diagnosis.services.quality_drift import Moved
from diagnosis.services.quality_tallies import STRETCHES, Histogram, Share


@dataclass(frozen=True)
class Period:
    """`days` up to today, in stretches of `step` days for charts."""

    key: str
    words: str
    days: int

    @property
    def step(self) -> int:
        return STRETCHES[self.days]


PERIODS: dict[str, Period] = {
    period.key: period
    for period in (
        Period("30", "30 days", 30),
        Period("90", "90 days", 90),
        Period("365", "A year", 364),
    )
}
DEFAULT_PERIOD = PERIODS["90"]


@dataclass
class BlindRow:
    """Of one reader, or of all: right before and after she saw the model's class, and how long each took."""

    name: str
    before: Share
    after: Share
    before_other: Share
    after_other: Share
    before_seconds: Histogram
    after_seconds: Histogram

    @property
    def cells(self) -> list[str]:
        shares = (self.before, self.after, self.before_other, self.after_other)
        return [
            *(quality_charts.share_point(share).words for share in shares),
            *(quality_charts.median_time_words(times) for times in (self.before_seconds, self.after_seconds)),
        ]


@dataclass
class Quality:
    """All of the page. Lists are empty, and charts left out, where there is nothing to show."""

    period: Period
    since: datetime.date
    until: datetime.date
    counted_at: datetime.datetime | None
    images: int = 0
    readings: int = 0
    active: ModelVersion | None = None
    queue: dict[str, int] = field(default_factory=dict)
    agreement: Share = field(default_factory=Share)
    agreement_chart: Chart | None = None
    by_class: list[Row] = field(default_factory=list)
    by_reader: list[Row] = field(default_factory=list)
    by_version: list[Row] = field(default_factory=list)
    said: list[tuple[str, list[int]]] = field(default_factory=list)
    said_columns: list[str] = field(default_factory=list)
    unsure: int = 0
    of_indeterminate: int = 0
    open_seconds: str = ""
    blind_readings: int = 0
    blind_moved: dict[str, int] = field(default_factory=dict)
    blind: list[BlindRow] = field(default_factory=list)
    drift: list[tuple[str, Moved, str, str]] = field(default_factory=list)
    drift_charts: list[Chart] = field(default_factory=list)
    indeterminate: Share = field(default_factory=Share)
    outside: Share = field(default_factory=Share)
    abstention_chart: Chart | None = None
    reasons: list[tuple[str, int]] = field(default_factory=list)
    failed: int = 0
    late: Share = field(default_factory=Share)
    turnaround: list[str] = field(default_factory=list)
    turnaround_chart: Chart | None = None
    queue_chart: Chart | None = None
    waited: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.images or self.readings or self.blind_readings or self.turnaround or self.failed)

    @property
    def alarms(self) -> list[str]:
        return [moved.sentence for _, moved, _, _ in self.drift if moved.is_alarm]
