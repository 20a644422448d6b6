"""The verdict of `segment_srm`."""

from dataclasses import dataclass
from datetime import datetime

from exd_dagster.stats.methods.change_point import ChangePoint
from exd_dagster.stats.srm.causes import Cause
from exd_dagster.stats.verdict import Json, StrictJson, Verdict, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow(StrictJson):
    """One segment, for a table or a chart.

    Attributes:
        dimension: a record column.
        value: its value.
        units: of the segment, in the iteration.
        share: of the variant of the verdict, among the units since the fault, or else of the newest phase.
        declared: share of that variant that was declared for these units.
        low: lower end of its 95 % confidence sequence, valid at all looks together.
        high: upper end.
        log_e_value: ln(w E) at its largest: the segment fails from -ln alpha on.
        failed: whether it fails.
        bad_from: start of the first hour at fault (UTC).
        bad_until: end of the last one, None while it is ongoing.
    """

    dimension: str
    value: str
    units: int
    share: float
    declared: float
    low: float
    high: float
    log_e_value: float
    failed: bool = False
    bad_from: datetime | None = None
    bad_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Within(StrictJson):
    """What a second dimension says of a failing segment; exploratory, see `narrow`.

    Attributes:
        sentence: one sentence.
        named: values of the second dimension that differ from the rest of the segment, the clearest first.
        explains: whether the segment is as declared without them.
        dimensions: those looked at.
        values: how many values of them were compared.
        since: first hour looked at (UTC).
        until: end of the last one (UTC).
    """

    sentence: str = ""
    named: tuple[Cause, ...] = ()
    explains: bool = False
    dimensions: tuple[str, ...] = ()
    values: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def as_metadata(self) -> dict[str, Json]:
        """Return it as strict JSON: of the values named their names, and the numbers of the first."""
        known = StrictJson.as_metadata(self)
        known["named"] = [f"{cause.dimension} = {cause.value}" for cause in self.named]
        numbers = ("variant", "units", "share", "rest_share")
        return {
            **known,
            **{name: plain(getattr(cause, name)) for cause in self.named[:1] for name in numbers},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSrmVerdict(Verdict):
    """The verdict on every segment at once.

    Attributes:
        alpha: probability that any segment of a healthy flag ever fails.
        segments_tested: how many were.
        dimensions: by which the flag's units were divided.
        segment: the one at fault, as a condition: "sdk_version = 4.2.0".
        dimension: of it.
        value: of it.
        variant: that is furthest from its declared share there; of a healthy flag the one that `rows` show.
        share: of `variant` in the segment since it broke.
        outside_share: of `variant` in the rest of the dimension, in the same hours.
        declared_share: of `variant`, in the same hours.
        units: of the segment since it broke.
        unit_share: of all units of the dimension since then, those of the segment.
        usable_without: segments to leave out so that the rest of the flag agrees with the declared split;
            empty where no such set was found.
        failing: every segment that fails, the strongest evidence first.
        first_crossing: bin (from 0) at whose end the first segment failed.
        detected_at: end of that bin (UTC).
        max_log_e_value: the largest ln(w E) of the segments in `rows`, and of any that might have failed.
        change: when the split of the segment broke, and how sure that is.
        rows: the failing segments, then the largest others.
        within: what a second dimension says of `segment`; None where that was not looked at.
        iteration_start: start of the iteration the counts are of (UTC).
    """

    alpha: float = 0.001
    segments_tested: int = 0
    dimensions: tuple[str, ...] = ()
    segment: str | None = None
    dimension: str | None = None
    value: str | None = None
    variant: str | None = None
    share: float | None = None
    outside_share: float | None = None
    declared_share: float | None = None
    units: int | None = None
    unit_share: float | None = None
    usable_without: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    first_crossing: int | None = None
    detected_at: datetime | None = None
    max_log_e_value: float | None = None
    change: ChangePoint | None = None
    rows: tuple[SegmentRow, ...] = ()
    within: Within | None = None
    iteration_start: datetime | None = None

    def key_facts(self) -> dict[str, Json]:
        """Return which segment is at fault, since when and how, for a message about the whole flag."""
        names = ("segment", "variant", "share", "declared_share", "unit_share", "usable_without", "bad_from")
        facts = {name: plain(getattr(self, name)) for name in names}
        return {**facts, "within": plain(self.within)} if self.within else facts
