"""What counting costs, each row beside its peer or limit in the same run.

    python -m benchmarks.bench_bins        1e7 rows
    BIG=1 python -m benchmarks.bench_bins  1e8 rows too

One JSON object a line: `ratio` is seconds over the peer's seconds, `target` the most (or, for a speed-up, the
least) it may be. Every measurement has a process of its own, so that `mib` is its own peak of memory. The
peer of xpyrment needs EXD_XPYRMENT_PYTHON, the interpreter of an environment that has it and pyarrow.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import perf_counter

import duckdb

from benchmarks.bench_logs import END, NOW, START, write_log
from exd_dagster.bins.recount import first_exposures
from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit, Timing
from exd_dagster.stats import audit_flag

THREADS = 2
SPLIT = {"control": 0.5, "treatment": 0.5}
CHECKOUT = FlagAudit(key="checkout", start=START, split=SPLIT)
FLAGS = [FlagAudit(key=f"flag-{i}", start=START, split=SPLIT) for i in range(500)]
HOUR = timedelta(hours=1)

BY_UNIT = (
    "SELECT count(*), max(first) FROM (SELECT unit_id_hash, min(timestamp) AS first FROM '{}' GROUP BY 1)"
)
BY_UNIT_HOUR = (
    "SELECT count(*), max(n) FROM (SELECT unit_id_hash, date_trunc('hour', timestamp::TIMESTAMP) AS hour, "
    "count(*) AS n FROM '{}' GROUP BY 1, 2)"
)
DISTINCT_IDS = "SELECT count(DISTINCT evaluation_id) FROM '{}'"


def connect(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    return duckdb.connect(path, config={"threads": THREADS})


def bare(query: str) -> Callable[[str], object]:
    return lambda log: connect().execute(query.format(log)).fetchall()


def all_measures(log: str) -> object:
    return BinStore(connect()).update(log, [CHECKOUT], START, END, now=NOW)


def many_flags(log: str) -> object:
    return BinStore(connect()).update(log, FLAGS, START, END, now=NOW)


def exposures(log: str) -> object:
    return first_exposures(connect(), log, CHECKOUT, end=NOW)


def checks(log: str) -> object:
    store = BinStore(connect())
    store.update(log, [CHECKOUT], START, END, now=NOW)
    return audit_flag(CHECKOUT, store.read(CHECKOUT))


WORK: dict[str, Callable[[str], object]] = {
    "by_unit": bare(BY_UNIT),
    "by_unit_hour": bare(BY_UNIT_HOUR),
    "distinct_ids": bare(DISTINCT_IDS),
    "all_measures": all_measures,
    "many_flags": many_flags,
    "exposures": exposures,
    "checks": checks,
}


def next_hour(log: str) -> dict[str, float]:
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


def timed(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def child(name: str, log: str) -> None:
    """Run one measurement and print its seconds and its peak of memory."""
    seconds = next_hour(log) if name == "next_hour" else timed(lambda: WORK[name](log))
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def measure(name: str, log: str, repeats: int = 3) -> tuple[float, float]:
    """Return the best seconds and the largest peak (MiB) of a few runs, each in its own process."""
    runs = [run_child(name, log) for _ in range(repeats)]
    return min(run[0] for run in runs), max(run[1] for run in runs)


def run_child(name: str, log: str) -> list:
    command = [sys.executable, "-m", "benchmarks.bench_bins", name, log]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def tell(benchmark: str, seconds: float, peer: float, target: float | None, **more: object) -> None:
    line = {"benchmark": benchmark, "seconds": round(seconds, 3), "peer_seconds": round(peer, 3)}
    line |= {"ratio": round(seconds / peer, 3)} | ({"target": target} if target else {}) | more
    print(json.dumps(line), flush=True)


def bins_against_bare_queries(rows: int, repeats: int, targets: tuple[float, float | None]) -> None:
    log = write_log(rows)
    by_unit, _ = measure("by_unit", log, repeats)
    first, mib = measure("exposures", log, repeats)
    tell(
        f"first-exposure bins, {rows:.0e} rows, vs GROUP BY unit", first, by_unit, targets[0], mib=round(mib)
    )
    bare_sum = by_unit + sum(measure(name, log, repeats)[0] for name in ("by_unit_hour", "distinct_ids"))
    whole, mib = measure("all_measures", log, repeats)
    tell(f"all measures, {rows:.0e} rows, vs three bare queries", whole, bare_sum, targets[1], mib=round(mib))


def hour_after(rows: int) -> None:
    found, mib = run_child("next_hour", write_log(rows))
    for name, target in (("next_hour", 1 / 60), ("next_hour_lookback_48h", None)):
        tell(
            f"{name}, {rows / 4:.1e} units, vs rebuild", found[name], found["rebuild"], target, mib=round(mib)
        )


def shapes(rows: int) -> None:
    one, _ = measure("all_measures", write_log(rows))
    many, mib = measure("many_flags", write_log(rows, "flags"))
    tell(f"500 flags in one pass, {rows:.0e} rows, vs one flag", many, one, 2.5, mib=round(mib))
    text, mib = measure("all_measures", write_log(rows, "hex"))
    tell(f"64-character ids, {rows:.0e} rows, vs integer ids", text, one, 2.5, mib=round(mib))


PEER = """
import json, resource, sys, time
import pandas as pd
from xpyrment.run.monitor import LiveMonitor
begin = time.perf_counter()
frame = pd.read_parquet(sys.argv[1], columns=["timestamp", "variant_key", "unit_id_hash"])
frame = frame.rename(columns={"variant_key": "variant", "unit_id_hash": "unit_id"})
LiveMonitor(frame, "timestamp").run_telemetry_checks([0.5, 0.5], freq="h")
seconds = time.perf_counter() - begin
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def checks_against_xpyrment(rows: int) -> None:
    python = os.environ.get("EXD_XPYRMENT_PYTHON")
    name = f"bins and checks, {rows:.0e} rows, vs xpyrment"
    if not python:
        print(
            json.dumps({"benchmark": name, "skipped": "EXD_XPYRMENT_PYTHON names no interpreter"}), flush=True
        )
        return
    log = write_log(rows)
    ours, mib = measure("checks", log)
    done = subprocess.run([python, "-c", PEER, log], capture_output=True, text=True, check=True)
    peer, peer_mib = json.loads(done.stdout.splitlines()[-1])
    tell(name, ours, peer, 1 / 15, mib=round(mib), peer_mib=round(peer_mib))


def main() -> None:
    rows = int(float(os.environ.get("ROWS", "1e7")))
    checks_against_xpyrment(rows)
    bins_against_bare_queries(rows, 3, (1.6, 1.1))
    shapes(rows)
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
