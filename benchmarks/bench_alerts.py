"""What a tick of the alert sensor costs, beside one read of all its checks from Dagster's storage.

python -m benchmarks.bench_alerts
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import dagster as dg

from benchmarks.line import tell
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.plan import plan_alerts
from exd_dagster.definitions.alerting.reading import CheckReader
from exd_dagster.definitions.assets import BINS_BUILT
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.stats.checks import CHECKS

FLAGS = 500
DRAWN = ("srm", "sequential_srm", "traffic_drop")
FACTS = {
    "verdict": "pass",
    "sentence": "The counts agree with the declared split (p = .41).",
    "expected": {"off": 0.5, "on": 0.5},
    "observed": {"off": 50210, "on": 49790},
    "n": 100000,
    "chi_square": 1.76,
    "p_value": 0.41,
    "threshold": 0.001,
    "audited_through": "2026-03-05T02:00:00Z",
    "iteration_start": "2026-03-01T00:00:00Z",
}


PICTURE = f"{FACTS['sentence']}\n\n![split](data:image/svg+xml;base64,{'x' * 3000})"
"""A description with a picture of usual size in it."""


def best(work: Callable[[], object], repeats: int = 7) -> float:
    """Return the seconds of one call, the best of several."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = perf_counter()
        work()
        seconds.append(perf_counter() - begin)
    return min(seconds)


def main() -> None:
    flags = [
        FlagAudit(key=f"flag-{i:03d}", split={"off": 0.5, "on": 0.5}, start="2026-03-01")
        for i in range(FLAGS)
    ]
    monitored = {
        dg.AssetCheckKey(dg.AssetKey(["experiments", f"{flag.key}_bins"]), check): flag
        for flag in flags
        for check in (*CHECKS, "trust", BINS_BUILT)
    }
    plan = plan_alerts("bench", monitored, [CallbackAlerts(print)])
    log = logging.getLogger("exd_dagster.bench")
    with dg.instance_for_test() as instance:
        for key in monitored:
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=True,
                    metadata=FACTS,
                    description=PICTURE if key.name in DRAWN else str(FACTS["sentence"]),
                )
            )
        keys = list(monitored)
        bare = best(lambda: instance.event_log_storage.get_latest_asset_check_execution_by_key(keys))
        read = best(lambda: latest_checks(instance, keys))
        first = best(lambda: replace(plan, reader=CheckReader()).tick(instance, log))
        tick = best(lambda: plan.tick(instance, log))
    checks = f"over {len(keys)} healthy checks"
    tell(f"alerts: read {checks}", read * 1e3, "ms", peer=bare * 1e3)
    tell(f"alerts: first tick {checks}", first * 1e3, "ms", peer=bare * 1e3, target=3)
    tell(f"alerts: tick {checks}, nothing new", tick * 1e3, "ms", peer=bare * 1e3, target=1)


if __name__ == "__main__":
    main()
