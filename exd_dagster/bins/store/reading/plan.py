"""What one update reads: which hours of which flags, decided before anything is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exd_dagster.bins.counting.audience import Target, counts_the_same
from exd_dagster.bins.hours import HOUR_MS, hour_of, instant_of
from exd_dagster.bins.model import HOUR
from exd_dagster.bins.store.registry import StoredFlag
from exd_dagster.config import FlagAudit, FlagId, Timing
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.telemetry.records import instant_ms
from exd_dagster.telemetry.sources.duckdb import IbisRecords, Records


@dataclass(frozen=True, slots=True)
class Reading:
    """The requested hours `[first, last)` since 1970 of these flags.

    Attributes:
        source: the log.
        flags: the flags to count.
        first: first requested hour.
        last: end of the requested hours (exclusive).
        timing: lateness, lookback, tolerance of clocks ahead.
        now: the clock (UTC).
        anew: count every flag again from its start.
        since: first hour in which the log changed since it was last read; None: none before `lookback`.
        stated: numbers of the flags whose first exposures the engine of the log keeps; None where DuckDB
            counts, or the engine keeps none.
    """

    source: Records
    flags: Sequence[FlagAudit]
    first: int
    last: int
    timing: Timing
    now: datetime
    anew: bool = False
    since: int | None = None
    stated: frozenset[int] | None = None

    @property
    def latest(self) -> int:
        """Records at or after this (ms) are ahead of the clock."""
        return instant_ms(self.now + self.timing.future_tolerance) + 1

    @property
    def listed_until(self) -> datetime:
        """Files are listed this far, so that the last hour can be seen to be complete."""
        return instant_of(self.last) + self.timing.lateness + 2 * HOUR

    @property
    def reread_from(self) -> int:
        """First hour that is read again: `lookback` before the window, or where the log changed."""
        first = self.first - -(-self.timing.lookback // HOUR)
        return first if self.since is None else min(first, self.since)

    @property
    def recounts(self) -> bool:
        """Whether a flag with anything to read is read from its start: no state of its units is kept."""
        return isinstance(self.source, IbisRecords) and self.stated is None

    def fingerprinted_from(self, *, known: bool) -> int:
        """Return the first hour whose fingerprint is needed; `known`: of flags that were counted before."""
        return self.reread_from + (0 if known else self.last - self.first)

    @property
    def lateness_ms(self) -> int:
        """Lateness in milliseconds."""
        return self.timing.lateness // timedelta(milliseconds=1)


def plan_targets(
    reading: Reading, stored: Mapping[FlagId, StoredFlag], through: Collection[int] = ()
) -> tuple[list[Target], set[int]]:
    """Decide which hours of each flag are read.

    A flag that the store does not know, or knows from another log or definition, is read from its start.
    Any other is read from the first hour not yet read, or `lookback` before the window where that is
    earlier: there are no gaps, so a first exposure is always the first. On an engine that keeps no first
    exposures it is read from its start.

    Args:
        reading: the request.
        stored: flags in the store.
        through: numbers of flags to read through to the last hour ever read.

    Returns:
        One target for each flag with anything to read, and the numbers of those counted from their start.
    """
    targets, anew = [], set()
    unused = max((known.number for known in stored.values()), default=0) + 1
    for flag in reading.flags:
        known = stored.get(flag.id)
        target = _plan(reading, flag, known, unused, through)
        unused += known is None
        if target.start < target.end and known is not None and (known.retired or reading.recounts):
            target = _plan(reading, flag, replace(known, source=""), unused, through)
        if target.start < target.end:
            targets.append(target)
        if known is None or reading.anew or known.retired or not _continues(known, flag, reading):
            anew.add(target.number)
    return targets, anew


def _plan(
    reading: Reading, flag: FlagAudit, known: StoredFlag | None, unused: int, through: Collection[int]
) -> Target:
    number, first, last = unused, hour_of(flag.start), reading.last
    if known is not None:
        number = known.number
        if reading.anew or not _continues(known, flag, reading) or number in through:
            last = max(last, known.read_through)
        if not reading.anew and _continues(known, flag, reading):
            first = max(first, min(reading.reread_from, known.read_through))
    end = min(last * HOUR_MS, reading.latest, instant_ms(flag.end) if flag.end else reading.latest)
    return Target(number, flag, max(instant_ms(flag.start), first * HOUR_MS), end)


def first_instant(reading: Reading, targets: Sequence[Target]) -> int:
    """Return the first millisecond that any flag is read from."""
    return min((target.start for target in targets), default=reading.first * HOUR_MS)


def extra_columns(targets: Sequence[Target]) -> list[str]:
    """Return the columns that filters and dimensions name."""
    return sorted({name for target in targets for name in (*target.extras, *dimensions_of(target.flag))})


def _continues(known: StoredFlag, flag: FlagAudit, reading: Reading) -> bool:
    same_log = known.source == reading.source.label
    kept = reading.stated is None or known.number in reading.stated
    return same_log and kept and counts_the_same(known.definition, flag, known.read_through)
