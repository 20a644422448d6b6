"""What Dagster's UI and the sensors cost with 2,000 flags, beside the same number of bare assets and checks.

python -m benchmarks.bench_ui [FLAGS]

It takes about a quarter of an hour and needs Chromium; `make bench BIG=1` runs it too.
"""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time

import dagster as dg

from benchmarks.bench_alerts import FACTS
from benchmarks.line import skip, summary, tell
from tests.e2e.browser import Tab, browser, find_chromium
from tests.e2e.webserver import ROOT, webserver

OURS = """
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

flags = [
    exd.FlagAudit(
        key=f"flag-{i:04d}",
        namespace="shop",
        environment="production",
        split={"off": 0.5, "on": 0.5},
        start="2026-03-01",
        owners=(f"team:team{i % 20}",),
    )
    for i in range(FLAGS)
]
defs = exd.build_flag_audit_defs(
    flags,
    records="logs/*.parquet",
    store=DuckDBResource(database="exd.duckdb"),
    alerts=[exd.CallbackAlerts(str)],
    monitoring=exd.Monitoring(),
    group_by="owner",
)
"""
BARE = """
import dagster as dg

CHECKS = NAMES
keys = [dg.AssetKey(["experiments", "shop", "production", f"flag_{i:04d}_bins"]) for i in range(FLAGS)]
partitions = dg.DailyPartitionsDefinition("2026-03-01")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(key, group_name=f"experiments_team{i % 20}", skippable=True)
        for i, key in enumerate(keys)
    ],
    partitions_def=partitions,
    can_subset=True,
)
def bins(): ...


def checks_of(key):
    @dg.multi_asset_check(
        name=f"{key.path[-1]}_checks",
        specs=[dg.AssetCheckSpec(name, asset=key, blocking=True) for name in CHECKS],
        can_subset=True,
    )
    def checks(): ...

    return checks


defs = dg.Definitions(assets=[bins], asset_checks=[checks_of(key) for key in keys])
"""
PAGES = {
    "catalog": ("/assets", "flag_0000_bins"),
    "graph of a group": ("/locations/project.py/asset-groups/experiments_team1/lineage", "Materialize all"),
    "graph of all": ("/asset-groups", "experiments_team1"),
    "checks of a flag": ("/assets/experiments/shop/production/flag_0001_bins?view=checks", "trust"),
}
"""Path of each page, and words that it shows once it is there."""
TICK, TICK_LIMIT = "tick of", 3.0
"""Begins what a sensor costs, and the most (CPU s) that a tick with nothing new may need."""
MOST = 90.0
"""Seconds after which a page counts as not opened."""


def main(flags: int = 2000) -> None:
    """Measure both projects, one after the other."""
    if find_chromium() is None:
        skip("ui", "no Chromium is installed")
        return
    names = check_names()
    with tempfile.TemporaryDirectory(prefix="exd-ui-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            fill(instance, flags, names)
        projects = {"bare": BARE, "ours": OURS}
        found = {
            name: measured(home, text.replace("FLAGS", str(flags)).replace("NAMES", repr(names)))
            for name, text in projects.items()
        }
    for what in [name for name in found["ours"] if name.startswith(TICK)]:
        tell(f"ui: {what}, {flags} flags", found["ours"].pop(what), "cpu s", limit=TICK_LIMIT)
    for what, value in found["ours"].items():
        peer = found["bare"].get(what)
        tell(f"ui: {what}, {flags} flags", value, peer=peer, target=None if peer is None else 2)


def check_names() -> list[str]:
    """Return the names of the checks that every flag has."""
    from exd_dagster.definitions.assets import BINS_BUILT
    from exd_dagster.stats.checks import CHECKS

    return [*CHECKS, "trust", BINS_BUILT]


def measured(home: Path, project: str) -> dict[str, float]:
    """Return the seconds of everything measured of one project; both have the same keys and history."""
    (home / "project.py").write_text(project)
    seconds = {"load definitions": loading(home)}
    if project.startswith(OURS[:40]):
        with dg.DagsterInstance.from_config(str(home)) as instance:
            seconds |= ticks(home, instance)
    return seconds | opening(home)


def loading(home: Path) -> float:
    """Return the seconds until a code server has the repository, interpreter and imports included."""
    code = "import project; project.defs.get_repository_def().asset_graph"
    begin = perf_counter()
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{home}"},
        check=True,
    )
    return perf_counter() - begin


def fill(instance: dg.DagsterInstance, flags: int, checks: Sequence[str]) -> None:
    """Record a materialization of every asset and an answer of every check."""
    for i in range(flags):
        key = dg.AssetKey(["experiments", "shop", "production", f"flag_{i:04d}_bins"])
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2026-03-04"))
        for name in checks:
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=key, check_name=name, passed=i % 200 != 7, metadata=FACTS)
            )


def ticks(home: Path, instance: dg.DagsterInstance) -> dict[str, float]:
    """Return the CPU seconds of ticks of the alert sensor and of the monitoring sensor, with nothing new."""
    names: dict[str, object] = {}
    here = Path.cwd()
    os.chdir(home)
    try:
        exec(compile((home / "project.py").read_text(), str(home / "project.py"), "exec"), names)
    finally:
        os.chdir(here)
    from exd_dagster.definitions.alerting.sensor import alert_plans

    (plan,) = alert_plans()
    defs = names["defs"]
    assert isinstance(defs, dg.Definitions)
    sensor = next(each for each in defs.sensors or () if each.name == "exd_monitoring")
    assert isinstance(sensor, dg.SensorDefinition)
    log = logging.getLogger("exd_dagster.bench")
    log.setLevel(logging.CRITICAL)
    found = {"first tick of the alert sensor": _cpu(lambda: plan.tick(instance, log))}
    found["tick of the alert sensor"] = _cpu(lambda: plan.tick(instance, log))
    context = dg.build_sensor_context(instance=instance, sensor_name=sensor.name)
    found["tick of the monitoring sensor"] = _cpu(lambda: sensor.evaluate_tick(context))
    return found


def _cpu(work: Callable[[], object]) -> float:
    begin = process_time()
    work()
    return process_time() - begin


def opening(home: Path) -> dict[str, float]:
    """Return the seconds until each page shows its words and nothing loads any more."""
    found = {}
    begin = perf_counter()
    with webserver(home, "-f", "project.py", seconds=300) as server, browser(1440, 900) as tab:
        found["webserver is up"] = perf_counter() - begin
        tab.open(server)
        for name, (path, words) in PAGES.items():
            found[f"open the {name}"] = opened(tab, server + path, words)
    return found


def opened(tab: Tab, address: str, words: str) -> float:
    """Return the seconds until a page shows the words; `MOST` where it does not."""
    tab.command("Page.navigate", url="about:blank")
    tab.wait_until("location.href === 'about:blank'")
    begin = perf_counter()
    tab.command("Page.navigate", url=address)
    try:
        tab.wait_for(words, MOST)
    except TimeoutError:
        return MOST
    return perf_counter() - begin


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    summary()
