"""One update of the store: read a window of one log, count it for every flag, write what changed."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.counting.count import seen_scopes, seen_variants
from exd_dagster.bins.counting.variant_ranks import place
from exd_dagster.bins.hours import HOUR_MS, instant_of
from exd_dagster.bins.report import BuildReport, FlagBuild
from exd_dagster.bins.store.merge import moved_exposures
from exd_dagster.bins.store.reading.delivery import delivered_hours, flag_volumes
from exd_dagster.bins.store.reading.fingerprints import narrow, save_fingerprints
from exd_dagster.bins.store.reading.log import OpenLog, Tally
from exd_dagster.bins.store.reading.names import learn_names
from exd_dagster.bins.store.reading.plan import Reading, first_instant, plan_targets
from exd_dagster.bins.store.registry import Registry, StoredFlag, StoredSource
from exd_dagster.bins.store.write import write_bins
from exd_dagster.config import FlagId
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.records import AMBIGUOUS_TIME, UNREADABLE_TIME, from_ms


class ExposuresLostError(Exception):
    """Records were removed from hours read before: these flags must be read through to their last hour."""

    def __init__(self, flags: Collection[int]) -> None:
        self.flags = frozenset(flags)
        super().__init__(f"flags {sorted(flags)}")


@dataclass(slots=True)
class Update:
    """One update of one store, inside the caller's transaction.

    Attributes:
        connection: the store.
        reading: the request.
        through: numbers of flags to read through to the last hour ever read.
        fresh: numbers of flags that are new to the store, or declared differently.
    """

    connection: duckdb.DuckDBPyConnection
    reading: Reading
    through: Collection[int] = ()
    builds: dict[FlagId, FlagBuild] = field(default_factory=dict)
    fresh: Collection[int] = ()

    @property
    def registry(self) -> Registry:
        """What the store knows."""
        return Registry(self.connection)

    def run(self, opened: OpenLog) -> BuildReport:
        """Count the records of an open log and write what changed.

        Raises:
            RecordsError: when the log cannot be read at all.
            ExposuresLostError: when flags must be read further; nothing may be committed.
        """
        reading = self.reading
        stored = self.registry.flags()
        targets, anew = plan_targets(reading, stored, self.through)
        self.fresh = anew
        anew = anew | {target.number for target in targets} if opened.recounts else anew
        self.builds = {flag.id: FlagBuild() for flag in reading.flags}
        start = first_instant(reading, targets)
        hours = opened.hours(start, reading.latest)
        source = self._save_hours(hours, start // HOUR_MS)
        targets = self._narrowed(self._filterable(targets, opened), opened, anew)
        counted = self._count(opened, targets, anew)
        if targets and not opened.recounts:
            save_fingerprints(self.connection, counted)
        read = {t.number: self._read_through(t, stored.get(t.flag.id), anew, source) for t in counted}
        self.registry.save_flags(reading.source.label, [(t.number, t.flag, read[t.number]) for t in counted])
        apart = opened.quarantine(start, reading.latest, [flag.key for flag in reading.flags])
        self._refuse_unreadable_times(opened, apart, source)
        for flag in reading.flags:
            own = {reason: found[flag.key] for reason, found in apart.items() if found.get(flag.key)}
            self.builds[flag.id] = replace(self.builds[flag.id], quarantined=own)
        quarantined = {reason: sum(found.values()) for reason, found in apart.items()}
        return BuildReport(
            source=reading.source.label,
            watermark=from_ms(source.watermark) if source else None,
            closed_through=instant_of(source.closed_through) if source else None,
            read_from=from_ms(start),
            **self._delivery(start // HOUR_MS, source),
            recounted=sum(count for _, count in hours.values()) if opened.recounts and counted else 0,
            flags=self.builds,
            quarantined={reason: count for reason, count in quarantined.items() if count},
            unreadable=opened.unreadable,
            absent=opened.absent,
        )

    def _refuse_unreadable_times(
        self, opened: OpenLog, apart: Mapping[str, Mapping[str, int]], source: StoredSource | None
    ) -> None:
        """Refuse a log of which no time can be read: its column or its form is the wrong one."""
        rows = sum(sum(apart.get(reason, {}).values()) for reason in (UNREADABLE_TIME, AMBIGUOUS_TIME))
        if source is not None or not rows:
            return
        doubt = sum(apart.get(AMBIGUOUS_TIME, {}).values())
        why = "whose day and month are ambiguous" if doubt else "no known form of an instant"
        raise RecordsError(
            f"{self.reading.source.place}: none of {rows:,} times can be read; they look like "
            f"'{opened.time_form()}', {why}. Map timestamp to the column with the time, or give its "
            "form, for example time_format='%d/%m/%Y %H:%M'"
        )

    def _save_hours(self, hours: Mapping[int, tuple[int, int]], first: int) -> StoredSource | None:
        """Store the hours read, each with its newest record, and return the log's watermark."""
        reading, label = self.reading, self.reading.source.label
        records = {hour: count for hour, (_, count) in hours.items()}
        self.registry.save_hours(label, records, first, max(reading.last, first))
        known = self.registry.source(label)
        newest = [
            *(at for at, _ in hours.values()),
            *([known.watermark] if known and not reading.anew else []),
        ]
        if not newest:
            return None
        source = StoredSource(max(newest), (max(newest) - reading.lateness_ms) // HOUR_MS)
        self.registry.save_source(label, source)
        return source

    def _delivery(self, first: int, source: StoredSource | None) -> dict[str, Any]:
        """Return how many records there are, the closed hours not delivered, and the later records."""
        label = self.reading.source.label
        records = {hour: count for hour, count in self.registry.hours(label).items() if count}
        delivered = delivered_hours(records, flag_volumes(self.connection, label))
        if source is None or not delivered:
            return {"records": sum(records.values())}
        closed = range(max(first, min(records)), source.closed_through)
        lost = [hour for hour in closed if hour in records and hour not in delivered]
        ahead = sum(count for hour, count in records.items() if hour > max(delivered))
        return {
            "records": sum(records.values()),
            "undelivered": tuple(map(instant_of, lost)),
            "records_ahead": ahead,
        }

    def _filterable(self, targets: Sequence[Target], opened: OpenLog) -> list[Target]:
        """Return the flags whose filter columns the log has; the others get an error."""
        kept = []
        for target in targets:
            missing = [
                f"'{m}' is not a column.{did_you_mean(m, opened.near(m))}"
                for m in opened.missing(target.extras)
            ]
            if missing:
                self._fail(target, f"include or exclude cannot be applied: {' '.join(missing)}")
            else:
                kept.append(target)
        return kept

    def _narrowed(self, targets: list[Target], opened: OpenLog, anew: Collection[int]) -> list[Target]:
        """Leave out the hours before the first that is not as it was when it was counted."""
        if opened.recounts or not targets:
            return targets
        known = [target for target in targets if target.number not in anew]
        reading = self.reading
        first = opened.fingerprint_hours(targets, reading.fingerprinted_from(known=bool(known)))
        narrowed = {target.number: target for target in narrow(self.connection, known, first)}
        return [narrowed.get(target.number, target) for target in targets]

    def _count(self, opened: OpenLog, targets: Sequence[Target], anew: Collection[int]) -> list[Target]:
        """Count the flags that can be counted and return them."""
        if not targets:
            return []
        tally = opened.tally(targets)
        tally.look()
        counted = self._scoped(targets, seen_scopes(self.connection), anew)
        ranks = self._rank(counted, seen_variants(self.connection))
        counted = [target for target in counted if self.builds[target.flag.id].error is None]
        if counted:
            tally = opened.tally(counted)
            tally.label(ranks)
            tally.count()
            tally.first_exposures()
            dimensions = self._dimensions(counted, opened)
            self._refuse_losses(tally, counted, anew, dimensions)
            tally.segments(dimensions)
            self._build(counted, write_bins(self.connection, counted, anew), anew)
        tally.clear()
        empty = [target.number for target in counted if not self.builds[target.flag.id].evaluations]
        learn_names(self.connection, opened, counted, empty, self.fresh)
        return counted

    def _scoped(
        self, targets: Sequence[Target], seen: Sequence[tuple[int, str, str]], anew: Collection[int]
    ) -> list[Target]:
        """Return the flags seen in one namespace and environment; the others get an error."""
        stored = self.registry.scopes()
        scopes = defaultdict(
            set, {number: {*found} for number, found in stored.items() if number not in anew}
        )
        for number, namespace, environment in seen:
            scopes[number].add((namespace, environment))
        kept = []
        for target in targets:
            fault = _ambiguous(target, scopes[target.number])
            if fault:
                self._fail(target, fault)
            else:
                kept.append(target)
        self.registry.forget_units([target.number for target in kept if target.number in anew])
        found = {target.number: scopes[target.number] for target in kept}
        self.registry.save_scopes({n: scope for n, scope in found.items() if n in anew or scope != stored[n]})
        return kept

    def _rank(self, targets: Sequence[Target], seen: Sequence[tuple[int, str]]) -> list[tuple[int, str, int]]:
        """Give every variant of these flags a rank; flags with too many get their error."""
        names, stored = defaultdict(list), self.registry.ranks()
        for number, variant in seen:
            names[number].append(variant)
        ranks = {}
        for target in targets:
            try:
                ranks[target.number] = place(stored[target.number], names[target.number])
            except RecordsError as error:
                self._fail(target, str(error))
        self.registry.save_ranks(ranks)
        return [(number, name, rank) for number, new in ranks.items() for name, rank in new.items()]

    def _read_through(
        self, target: Target, past: StoredFlag | None, anew: Collection[int], source: StoredSource | None
    ) -> int:
        """Return the first hour of a flag that is not yet read whole: records may follow the newest."""
        read = 0 if past is None or target.number in anew else past.read_through
        newest = source.watermark // HOUR_MS if source else 0
        return max(read, min(max(self.reading.last, target.end // HOUR_MS), newest))

    def _dimensions(self, targets: Sequence[Target], opened: OpenLog) -> dict[int, list[str]]:
        """Return the dimensions by which each flag is counted: those the log has, or once had."""
        once = self.registry.dimensions()
        wanted = {target.number: dimensions_of(target.flag) for target in targets}
        missing = {*opened.missing({name for names in wanted.values() for name in names})}
        return {
            number: [name for name in names if name not in missing or name in once.get(number, ())]
            for number, names in wanted.items()
        }

    def _refuse_losses(
        self,
        tally: Tally,
        targets: Sequence[Target],
        anew: Collection[int],
        dimensions: Mapping[int, Sequence[str]],
    ) -> None:
        """Request more hours if those read change later ones."""
        # A unit may have lost its stored exposure and have its next one later. Or its exposure is now
        # earlier than the stored one, whose segment must be corrected.
        stored = {known.number: known.read_through for known in self.registry.flags().values()}
        further = {t.number for t in targets if t.end < stored.get(t.number, 0) * HOUR_MS} - set(anew)
        further -= set(self.through)
        lost = further and further & tally.lost_exposures()
        lost = lost or (further and further & {n for n in moved_exposures(self.connection) if dimensions[n]})
        if lost:
            raise ExposuresLostError(lost)

    def _build(self, targets: Sequence[Target], changed: dict[int, list[int]], anew: Collection[int]) -> None:
        counts = "SELECT target, sum(evaluations)::BIGINT FROM exd_counts GROUP BY target"
        evaluations = dict(self.connection.execute(counts).fetchall())
        units = "SELECT target, sum(new_units)::BIGINT FROM exd_delta GROUP BY target"
        new_units = dict(self.connection.execute(units).fetchall())
        for target in targets:
            self.builds[target.flag.id] = FlagBuild(
                hours_changed=tuple(instant_of(hour) for hour in changed.get(target.number, ())),
                new_units=new_units.get(target.number, 0),
                evaluations=evaluations.get(target.number, 0),
                rebuilt=target.number in anew,
            )

    def _fail(self, target: Target, error: str) -> None:
        failed = replace(self.builds[target.flag.id], error=f"flag '{target.flag.id}': {error}")
        self.builds[target.flag.id] = failed


def _ambiguous(target: Target, scopes: Collection[tuple[str, str]]) -> str | None:
    """Return the error for records of several namespaces or environments counted as one flag."""
    _, namespace, environment = target.scope
    for part, (name, declared) in enumerate((("namespace", namespace), ("environment", environment))):
        found = sorted({scope[part] for scope in scopes})
        if declared is None and len(found) > 1:
            shown = ", ".join(f"'{value}'" for value in found[:20])
            return f"its records come from {len(found)} {name}s: {shown}; name one with {name}="
    return None
