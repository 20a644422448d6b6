"""What counting costs, each row beside its peer or limit in the same run.

    python -m benchmarks.bench_bins        1e7 rows
    BIG=1 python -m benchmarks.bench_bins  1e8 rows too

Every measurement has a process of its own, so that `mib` is its own peak of memory. The peer of xpyrment
needs EXD_XPYRMENT_PYTHON, the interpreter of an environment that has it and pyarrow.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import perf_counter, process_time

import duckdb

from benchmarks import line
from benchmarks.bench_logs import DIMENSIONS, END, FORMS, NOW, START, write_copy, write_log
from exd_dagster.bins.recount import first_exposures
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Timing
from exd_dagster.stats import audit_flag
from exd_dagster.telemetry.sources.duckdb import ParquetRecords

THREADS = 2
SPLIT = {"control": 0.5, "treatment": 0.5}
CHECKOUT = FlagAudit(key="checkout", start=START, split=SPLIT)
FLAGS = [FlagAudit(key=f"flag-{i}", start=START, split=SPLIT) for i in range(500)]
HOUR = timedelta(hours=1)

BY_UNIT = (
    "SELECT count(*), max(first) FROM (SELECT unit_id_hash, min(timestamp) AS first FROM '{}' GROUP BY 1)"
)
BY_UNIT_HOUR = (
    "SELECT count(*), max(n) FROM (SELECT unit_id_hash, epoch_us(timestamp) // 3600000000 AS hour, "
    "count(*) AS n FROM '{}' GROUP BY 1, 2)"
)
DISTINCT_IDS = "SELECT count(DISTINCT evaluation_id) FROM '{}'"


def connect(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    return duckdb.connect(path, config={"threads": THREADS})


def bare(query: str) -> Callable[[str], object]:
    return lambda log: connect().execute(query.format(log)).fetchall()


def all_measures(log: str) -> object:
    return BinStore(connect()).update(log, [CHECKOUT], START, END, now=NOW)


def segments(log: str) -> object:
    flag = CHECKOUT.model_copy(update={"dimensions": tuple(DIMENSIONS)})
    return BinStore(connect()).update(log, [flag], START, END, now=NOW)


def many_flags(log: str) -> object:
    return BinStore(connect()).update(log, FLAGS, START, END, now=NOW)


def exposures(log: str) -> object:
    return first_exposures(connect(), log, CHECKOUT, end=NOW)


def checks(log: str) -> object:
    store = BinStore(connect())
    lean = ParquetRecords(path=log, constants={"flag_key": "checkout"})
    store.update(lean, [CHECKOUT], START, END, now=NOW)
    return audit_flag(CHECKOUT, store.read(CHECKOUT))


WORK: dict[str, Callable[[str], object]] = {
    "by_unit": bare(BY_UNIT),
    "by_unit_hour": bare(BY_UNIT_HOUR),
    "distinct_ids": bare(DISTINCT_IDS),
    "all_measures": all_measures,
    "many_flags": many_flags,
    "segments": segments,
    "exposures": exposures,
    "checks": checks,
}


def next_hour(log: str) -> dict[str, tuple[float, float]]:
    """Measure a rebuild into a file, then the hour after it, from a store that has just been opened."""
    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place) / "bins.duckdb")
        last = END - HOUR
        with connect(path) as connection:
            rebuilt = timed(lambda: BinStore(connection).update(log, [CHECKOUT], START, last, now=NOW))
        found = {"rebuild": rebuilt}
        for name, lookback in (("next_hour", 0), ("next_hour_lookback_48h", 48)):
            with connect(path) as connection:
                timing = Timing(lookback=lookback * HOUR)
                hour = partial(
                    BinStore(connection).update, log, [CHECKOUT], last, END, timing=timing, now=NOW
                )
                found[name] = timed(hour)
    return found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock and of the processors."""
    begin, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - begin, process_time() - cpu


@dataclass(frozen=True)
class Cost:
    """What one measurement took: seconds by the clock, seconds of both processors, peak of memory."""

    seconds: float
    cpu: float
    mib: float


def child(name: str, log: str) -> None:
    """Run one measurement and print what it took; libraries are imported before, as the peer's are."""
    import scipy.stats  # noqa: F401

    found = {name: timed(lambda: WORK[name](log))} if name in WORK else next_hour(log)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({key: [*seconds, mib] for key, seconds in found.items()}))


def run_child(name: str, log: str) -> dict[str, Cost]:
    command = [sys.executable, "-m", "benchmarks.bench_bins", name, log]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: Cost(*values) for key, values in json.loads(done.stdout.splitlines()[-1]).items()}


def measure(name: str, log: str, repeats: int = 3) -> Cost:
    """Return the best of a few runs, each in a process of its own."""
    runs = [run_child(name, log)[name] for _ in range(repeats)]
    return Cost(
        *(pick(run) for pick, run in zip(_FIELDS, [min(runs, key=pick) for pick in _FIELDS], strict=True))
    )


_FIELDS = (attrgetter("seconds"), attrgetter("cpu"), attrgetter("mib"))


def tell(benchmark: str, cost: Cost, peer: Cost, target: float | None, **more: object) -> None:
    more |= {"cpu_ratio": round(cost.cpu / peer.cpu, 3), "mib": round(cost.mib)}
    line.tell(benchmark, cost.seconds, peer=peer.seconds, target=target, **more)


def bins_against_bare_queries(rows: int, repeats: int, targets: tuple[float, float | None]) -> None:
    log = write_log(rows)
    bare = [measure(name, log, repeats) for name in ("by_unit", "by_unit_hour", "distinct_ids")]
    first = measure("exposures", log, repeats)
    tell(f"first-exposure bins, {rows:.0e} rows, vs GROUP BY unit", first, bare[0], targets[0])
    three = Cost(*(sum(pick(cost) for cost in bare) for pick in _FIELDS))
    whole = measure("all_measures", log, repeats)
    tell(f"all measures, {rows:.0e} rows, vs three bare queries", whole, three, targets[1])


def other_files(rows: int) -> None:
    for kind in ("csv", "ndjson", "files"):
        log = write_copy(rows, kind)
        bare = [measure(name, log) for name in ("by_unit", "by_unit_hour", "distinct_ids")]
        three = Cost(*(sum(pick(cost) for cost in bare) for pick in _FIELDS))
        name = f"all measures, {rows:.0e} rows as {FORMS[kind]}, vs three bare queries"
        tell(name, measure("all_measures", log), three, 1.6)


def hour_after(rows: int) -> None:
    found = run_child("next_hour", write_log(rows))
    for name, target in (("next_hour", 1 / 60), ("next_hour_lookback_48h", None)):
        tell(f"{name}, {rows / 4:.1e} units, vs rebuild", found[name], found["rebuild"], target)


def shapes(rows: int) -> None:
    one = measure("all_measures", write_log(rows))
    many = measure("many_flags", write_log(rows, "flags"))
    tell(f"500 flags in one pass, {rows:.0e} rows, vs one flag", many, one, 2.5)
    text = measure("all_measures", write_log(rows, "hex"))
    tell(f"64-character ids, {rows:.0e} rows, vs integer ids", text, one, 2.5)


def bins_by_segment(rows: int) -> None:
    log = write_log(rows, "segments")
    six, none = measure("segments", log), measure("all_measures", log)
    tell(f"bins by {len(DIMENSIONS)} dimensions, {rows:.0e} rows, vs by none", six, none, 1.6)


PEER = """
import json, resource, sys, time
import pandas as pd
from xpyrment.run.monitor import LiveMonitor
begin = time.perf_counter()
frame = pd.read_parquet(sys.argv[1], columns=["timestamp", "variant_key", "unit_id_hash"])
frame = frame.rename(columns={"variant_key": "variant", "unit_id_hash": "unit_id"})
LiveMonitor(frame, "timestamp").run_telemetry_checks([0.5, 0.5], freq="h")
seconds = time.perf_counter() - begin
print(json.dumps([seconds, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def checks_against_xpyrment(rows: int) -> None:
    python = os.environ.get("EXD_XPYRMENT_PYTHON")
    name = f"bins and checks, {rows:.0e} rows, vs xpyrment"
    if not python:
        line.skip(name, "EXD_XPYRMENT_PYTHON names no interpreter")
        return
    log = write_log(rows, "lean")
    ours = measure("checks", log)
    done = subprocess.run([python, "-c", PEER, log], capture_output=True, text=True, check=True)
    peer = Cost(*json.loads(done.stdout.splitlines()[-1]))
    tell(name, ours, peer, 1 / 15, peer_mib=round(peer.mib))


def main() -> None:
    rows = int(float(os.environ.get("ROWS", "1e7")))
    checks_against_xpyrment(rows)
    bins_against_bare_queries(rows, 3, (1.6, 1.1))
    shapes(rows)
    bins_by_segment(rows)
    other_files(rows // 10)
    if os.environ.get("BIG"):
        bins_against_bare_queries(10 * rows, 1, (1.9, None))
        hour_after(10 * rows)
    else:
        hour_after(rows)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(*sys.argv[1:])
    else:
        main()
