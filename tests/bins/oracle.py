"""The law in plain Python: what the bins of a set of records are, counted by brute force."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

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
        variants = [{v for _, v in seen} for seen in phases.values()]
        if len(set().union(*variants)) > 1:
            cell[3] += 1
            cell[4] += all(len(seen) == 1 for seen in variants)
    return {cell: tuple(values) for cell, values in bins.items() if cell[0] < through}


def counts(record: Record, flag) -> bool:
    return bool(
        record.flag_key == flag.key
        and flag.start <= record.timestamp
        and (flag.end is None or record.timestamp < flag.end)
        and record.evaluation_reason not in flag.exclude_reasons
        and record.variant_key
        and record.variant_key not in flag.ignore_variants
        and record.unit_id_hash
    )


def place(instant: datetime, flag) -> tuple[int, int]:
    """Return iteration and phase of an instant."""
    later = [phase for phase in flag.phases if phase.start > flag.start and phase.start <= instant]
    return sum(phase.rerandomized for phase in later), len(later)


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
