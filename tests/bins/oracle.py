"""The oracle in plain Python: what the bins and facts of a set of records are, counted by brute force."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from exd_dagster.config.dimensions import dimensions_of

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Record:
    """One evaluation as a test writes it."""

    timestamp: datetime
    flag_key: str
    variant_key: str | None
    unit_id_hash: str | None
    evaluation_id: str | None = None
    evaluation_reason: str | None = None
    manifest_version: int | None = None
    ingested_at: datetime | None = None
    country: str | None = None


def hour_of(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def ms_of(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def brute_force(records, flag, through: datetime) -> dict:
    """Return (new_units, units, evaluations, multi, carried) by (hour, variant), hours before `through`."""
    counted = [r for r in records if counts(r, flag)]
    bins = defaultdict(lambda: [0, 0, 0, 0, 0])
    active, evaluations = defaultdict(set), defaultdict(set)
    for i, record in enumerate(counted):
        cell = (hour_of(record.timestamp), record.variant_key)
        active[cell].add(record.unit_id_hash)
        name = record.evaluation_id or i
        evaluations[cell].add((record.unit_id_hash, name))
    for cell in active:
        bins[cell][1] = len(active[cell])
        bins[cell][2] = len(evaluations[cell])
    exposures = defaultdict(lambda: defaultdict(list))
    for record in counted:
        iteration, phase = place(record.timestamp, flag)
        exposures[iteration, record.unit_id_hash][phase].append((ms_of(record.timestamp), record.variant_key))
    for phases in exposures.values():
        instant, variant = min(min(seen) for seen in phases.values())
        cell = bins[hour_of(instant), variant]
        cell[0] += 1
        variants = {part: {v for _, v in seen} for part, seen in phases.items()}
        if len(set().union(*variants.values())) > 1:
            cell[3] += 1
            cell[4] += all(len(seen) == 1 or taken_up for (_, taken_up), seen in variants.items())
    return {cell: tuple(values) for cell, values in bins.items() if cell[0] < through}


def brute_segments(records, flag, through: datetime, keep: int) -> dict:
    """Return new units by (hour, dimension, value, variant), hours before `through`.

    In each hour the `keep` largest values of a dimension are named, the others are "(other)".
    """
    exposures = defaultdict(list)
    for record in records:
        if counts(record, flag):
            iteration, _ = place(record.timestamp, flag)
            moment = ms_of(record.timestamp), record.variant_key
            exposures[iteration, record.unit_id_hash].append((moment, record))
    found = defaultdict(int)
    for seen in exposures.values():
        first = min(moment for moment, _ in seen)
        tied = [record for moment, record in seen if moment == first]
        for name in dimensions_of(flag):
            if name in Record.__dataclass_fields__:
                values = ["" if (v := getattr(r, name)) is None else str(v) for r in tied]
                found[hour_of(first[0]), name, min(values), first[1]] += 1
    totals = defaultdict(lambda: defaultdict(int))
    for (hour, name, value, _), units in found.items():
        totals[hour, name][value] += units
    folded = defaultdict(int)
    for (hour, name, value, variant), units in found.items():
        of = totals[hour, name]
        named = value in sorted(of, key=lambda v: (-of[v], v))[:keep]
        if hour < through:
            folded[hour, name, value or "(none)" if named else "(other)", variant] += units
    return dict(folded)


def segments_as_dict(segments) -> dict:
    """Return FlagSegments in the form of `brute_segments`."""
    return {
        (segments.start + HOUR * int(t), each.dimension, each.value, segments.variants[v]): int(units[t, v])
        for each, units in zip(segments.segments, segments.new_units, strict=True)
        for t, v in zip(*units.nonzero(), strict=True)
    }


def counts(record: Record, flag) -> bool:
    return bool(
        concerns(record, flag)
        and record.evaluation_reason not in flag.exclude_reasons
        and record.variant_key
        and record.variant_key not in flag.ignore_variants
        and record.unit_id_hash
    )


def concerns(record: Record, flag) -> bool:
    """Return True for a record of the flag that its times and filters let through."""
    return bool(
        record.flag_key == flag.key
        and flag.start <= record.timestamp
        and (flag.end is None or record.timestamp < flag.end)
        and all(getattr(record, name) in values for name, values in flag.include.items())
        and not any(getattr(record, name) in values for name, values in flag.exclude.items())
    )


def brute_facts(records, flag, through: datetime, lateness: timedelta) -> dict:
    """Return {(hour, name, detail): count} of everything but variants met, hours before `through`."""
    kinds, seen, rows = defaultdict(set), defaultdict(set), defaultdict(int)
    for i, record in enumerate(records):
        if concerns(record, flag):
            hour = hour_of(record.timestamp)
            late = record.ingested_at is not None and record.ingested_at >= hour + HOUR + lateness
            kind = (hour, record.evaluation_reason or "", record.variant_key or None)
            kind += (record.manifest_version, late, not record.unit_id_hash)
            kinds[kind].add(record.evaluation_id or i)
        if counts(record, flag):
            seen[hour, record.variant_key].add((record.unit_id_hash, record.evaluation_id or i))
            rows[hour, record.variant_key] += 1
    facts, ids = defaultdict(int), defaultdict(int)
    for (hour, *kind), evaluations in kinds.items():
        for name, detail in facts_of(*kind, flag):
            facts[hour, name, detail] += len(evaluations)
        reason, variant, _, _, unitless = kind
        if reason not in flag.exclude_reasons and not unitless:
            ids[hour, variant] += len(evaluations)
    for (hour, variant), evaluations in seen.items():
        facts[hour, "duplicate_rows", variant] = rows[hour, variant] - len(evaluations)
        facts[hour, "reused_ids", variant] = max(0, len(evaluations) - ids[hour, variant])
    return {fact: count for fact, count in facts.items() if count and fact[0] < through}


def facts_of(reason, variant, version, late, unitless, flag) -> list[tuple[str, str]]:
    if reason in flag.exclude_reasons:
        return [("excluded_reason", reason)]
    if variant in flag.ignore_variants:
        return []
    if variant is None:
        return [("null_variants", "")]
    if unitless:
        return [("null_units", variant)]
    versions = [] if version is None else [("manifest_version", str(version))]
    return versions + [("late_rows", "")] * late


def place(instant: datetime, flag) -> tuple[int, tuple[int, bool]]:
    """Return iteration and phase of an instant, and whether clients may still be served the phase before."""
    later = [phase for phase in flag.phases if phase.start > flag.start and phase.start <= instant]
    uptake = 0 * HOUR
    if later:
        uptake = flag.uptake if later[-1].uptake is None else later[-1].uptake
    taken_up = bool(later) and instant < later[-1].start + uptake
    return sum(phase.rerandomized for phase in later), (len(later), taken_up)


def as_dict(bins) -> dict:
    """Return FlagBins in the form of `brute_force`."""
    extra = {(f.hour, f.detail, f.name): f.count for f in bins.facts}
    found = {}
    for i, hour in enumerate(bins.hours):
        for j, variant in enumerate(bins.variants):
            values = (
                int(bins.new_units[i, j]),
                int(bins.units[i, j]),
                int(bins.evaluations[i, j]),
                extra.get((hour, variant, "multi_variant_units"), 0),
                extra.get((hour, variant, "carry_over_units"), 0),
            )
            if any(values):
                found[hour, variant] = values
    return found


def facts_as_dict(bins) -> dict:
    """Return the facts of FlagBins in the form of `brute_facts`."""
    of_units = ("multi_variant_units", "carry_over_units")
    return {(f.hour, f.name, f.detail): f.count for f in bins.facts if f.name not in of_units}
