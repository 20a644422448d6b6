"""What the statistics cost, beside their limits.

python -m benchmarks.bench_stats
"""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter, process_time

import numpy as np

from benchmarks.line import tell
from exd_dagster.bins.model import HOUR, FlagBins, FlagSegments, Segment
from exd_dagster.config import FlagAudit
from exd_dagster.stats import EvidenceState, audit_flag
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.chi_square import chi_square, upper_tail
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.segments.segment_srm import segment_srm
from exd_dagster.stats.segments.traffic import segment_traffic
from exd_dagster.stats.traffic.seasonal import nothing_declared, scan

SPLIT = {"control": 0.5, "treatment": 0.5}
HALVES = np.array([0.5, 0.5])
ROBUST_OVER_MEAN = 1.5


def best(work: Callable[[], object], times: int, repeats: int = 7) -> float:
    """Return the seconds of one call, best of `repeats` runs of `times` calls."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = perf_counter()
        for _ in range(times):
            work()
        seconds.append((perf_counter() - begin) / times)
    return min(seconds)


def report(name: str, seconds: float, limit: float | None, unit: str) -> None:
    tell(name, seconds * {"us": 1e6, "ms": 1e3}[unit], unit, limit=limit)


def one_audit(hours: int) -> Callable[[], object]:
    random = np.random.default_rng(1)
    flag = FlagAudit(key="checkout", start="2026-03-01", split=SPLIT)
    units = random.poisson(500, (hours, 2))
    delivered = np.ones(hours, dtype=bool)
    bins = FlagBins(flag.id, tuple(SPLIT), flag.start, units, units, units, delivered)
    assert bins.audited_through == flag.start + HOUR * hours
    return lambda: audit_flag(flag, bins)


def robust_baseline(random: np.random.Generator) -> None:
    """Tell what the traffic test of 28 days takes beside the same test on the plain mean of earlier weeks."""
    hour = np.arange(672)
    means = 200 * (1 + (2 / 3) * np.sin(2 * np.pi * hour / 24)) * random.lognormal(0, 0.1, 672)
    volumes, delivered = random.poisson(means).astype(float), np.ones(672, dtype=bool)
    mean = replace(nothing_declared(672), baseline="mean")
    seconds = []
    for _ in range(15):  # in turn, so that other work on the machine meets both
        for declared in (None, mean):
            begin = process_time()
            for _ in range(10):
                scan(volumes, delivered, 1e-4, declared)
            seconds.append((process_time() - begin) / 10)
    tell(
        "traffic test of 28 days, robust baseline over plain mean",
        min(seconds[::2]) * 1e3,
        "cpu ms",
        peer=min(seconds[1::2]) * 1e3,
        target=ROBUST_OVER_MEAN,
    )


def segment_checks(random: np.random.Generator) -> None:
    """Tell what the checks of 80 segments in 8 dimensions over 30 days take."""
    flag = FlagAudit(key="checkout", start="2026-03-01", split=SPLIT)
    units = random.poisson(500, (720, 2))
    parts = [np.moveaxis(random.multinomial(units, np.full(10, 0.1)), 2, 0) for _ in range(8)]
    counts = np.concatenate(parts)
    names = tuple(Segment(f"d{i // 10}", f"v{i % 10}") for i in range(80))
    bins = FlagBins(flag.id, tuple(SPLIT), flag.start, units, units, units, np.ones(720, dtype=bool))
    segments = FlagSegments(flag.start, tuple(SPLIT), names, counts)
    for check, limit in ((segment_srm, 200), (segment_traffic, 120)):
        seconds = []
        for _ in range(7):
            begin = process_time()
            check(flag, bins, segments)
            seconds.append(process_time() - begin)
        tell(f"{check.__name__} of 80 segments, 30 days", min(seconds) * 1e3, "cpu ms", limit=limit)


def main() -> None:
    random = np.random.default_rng(0)
    hours = random.poisson(500, (336, 2)).astype(float)
    state = EvidenceState.begin(SPLIT)
    for row in hours.tolist():
        state = state.update(row)
    report(
        "sequential update, one bin of one two-arm flag",
        best(lambda: state.update([500, 512]), 200, 100),
        15,
        "us",
    )
    periods = [Period(0, HALVES)]
    whole = best(lambda: log_e_values(hours, periods), 50)
    report("sequential test of 336 bins, per bin", whole / len(hours), 15, "us")
    flags = random.poisson(5000, (10_000, 2)).astype(float)
    report("chi-square of 10,000 flags", best(lambda: upper_tail(chi_square(flags, HALVES), 1), 20), 50, "ms")
    robust_baseline(random)
    segment_checks(random)
    report("all three checks of one flag, 28 days", best(one_audit(672), 5), None, "ms")


if __name__ == "__main__":
    main()
