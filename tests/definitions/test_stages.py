"""A log with several stages: each is counted from one scan, and the first whose split breaks is named."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.bins.store.store import open_store
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.config.stages import other_stages
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, DuckBackend
from tests.logs import HOUR, START, healthy, rows, write

HOURS = 4
STAGES = {"assigned": ["assign"], "exposed": ["view"], "activated": ["buy", "subscribe"]}
EVEN, SHORT = {"control": 150, "treatment": 150}, {"control": 150, "treatment": 60}


def audited(
    folder: Path, instance: dg.DagsterInstance, counts: Mapping[str, Mapping[str, int]], **flag: object
) -> dict[str, dg.AssetCheckEvaluation]:
    """Audit a flag of so many new units an hour at each stage; return its checks by name."""
    stages = [rows("checkout", [units] * HOURS).assign(event=event) for event, units in counts.items()]
    beat = rows("beat", healthy(1), start=START + (HOURS + 1) * HOUR + HOUR / 2).assign(event="view")
    given = {"split": {"control": 0.5, "treatment": 0.5}, "stages": STAGES, "stage_column": "event", **flag}
    defs = build_flag_audit_defs(
        [FlagAudit(key="checkout", start=START, **given)],
        write(folder / "log", *stages, beat),
        DuckDBResource(database=str(folder / "bins.duckdb")),
    )
    tags = range_tags("2026-03-01-00:00", "2026-03-01-03:00")
    job = defs.resolve_job_def("exd_audit")
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_a_fault_before_exposure_is_named_and_blocks_by_the_flags_own_checks(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    checks = audited(tmp_path, instance, {"assign": EVEN, "view": SHORT, "buy": SHORT})
    said = checks["stage_srm"].metadata["details"].value
    assert said["sentence"].startswith("The split breaks at stage exposed since 2026-03-01 00:00 UTC: ")
    assert said["sentence"].endswith("of 840 units, 50 % declared; as declared at assigned.")
    assert said["causes"][0].startswith("Between assigned and exposed: ")
    assert not checks["trust"].passed


def test_a_fault_after_exposure_informs_and_the_flag_is_trusted_with_a_warning(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    checks = audited(tmp_path, instance, {"assign": EVEN, "view": EVEN, "subscribe": SHORT})
    stage = checks["stage_srm"]
    assert (stage.passed, stage.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert stage.metadata["details"].value["stage"] == "activated"
    assert checks["trust"].passed
    assert str(checks["trust"].description).startswith(
        "Trusted, with a warning. The split breaks at stage activated"
    )


def test_where_every_stage_is_as_declared_their_units_are_told(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    checks = audited(tmp_path, instance, {"assign": EVEN, "view": EVEN})
    assert checks["stage_srm"].metadata["details"].value["sentence"] == (
        "The split breaks at no stage: assigned 1,200 units, exposed 1,200 units, activated no unit yet."
    )


def test_a_broken_assignment_is_named_first(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    checks = audited(tmp_path, instance, {"assign": SHORT, "view": SHORT})
    said = checks["stage_srm"].metadata["details"].value
    assert said["stage"] == "assigned"
    assert said["causes"][0].startswith("The assignment itself")


def test_after_a_change_of_the_split_only_exposure_is_tested(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    later = Phase(start=START + 2 * HOUR, split={"control": 0.4, "treatment": 0.6}, uptake="0m")
    checks = audited(tmp_path, instance, {"assign": SHORT, "view": EVEN}, phases=[later], mode="observe")
    stages = checks["stage_srm"].metadata["details"].value["stages"]
    assert (stages["assigned"]["verdict"], stages["exposed"]["verdict"]) == ("skipped", "pass")


def test_a_flag_without_stages_has_no_such_check(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert "stage_srm" not in audited(tmp_path, instance, {"view": EVEN}, stages={})


def test_the_stages_of_a_flag_are_counted_by_one_update(tmp_path: Path) -> None:
    flag = FlagAudit(
        key="checkout",
        start=START,
        split={"control": 0.5, "treatment": 0.5},
        stages=STAGES,
        stage_column="event",
    )
    log = write(
        tmp_path / "log",
        *(
            rows("checkout", [EVEN] * HOURS).assign(event=event)
            for event in ("assign", "view", "buy", "subscribe")
        ),
        rows("beat", healthy(1), start=START + 6 * HOUR).assign(event="view"),
    )
    stages = other_stages(flag)
    with open_store(tmp_path / "bins.duckdb") as store:
        store.update(log, [flag, *stages.values()], START, START + HOURS * HOUR, now=START + 24 * HOUR)
        units = {name: int(store.read(stage).new_units.sum()) for name, stage in stages.items()}
        exposed = int(store.read(flag).new_units.sum())
    assert (units, exposed) == ({"assigned": 1200, "activated": 1200}, 1200)


def test_an_engine_counts_the_same_stages(tmp_path: Path) -> None:
    flag = FlagAudit(
        key="checkout", start=START, split={"a": 0.5, "b": 0.5}, stages=STAGES, stage_column="event"
    )
    counts = {"assign": EVEN, "view": SHORT}
    frames = [rows("checkout", [units] * HOURS).assign(event=event) for event, units in counts.items()]
    beat = rows("beat", healthy(1), start=START + 6 * HOUR).assign(event="view")
    columns = {name: COLUMNS.get(name, "string") for name in beat}
    records = IbisRecords(
        connection=DuckBackend(pd.concat([*frames, beat]), columns), table="flag_evaluations"
    )
    counted, end = [flag, *other_stages(flag).values()], START + HOURS * HOUR
    with open_store(tmp_path / "bins.duckdb") as store:
        store.update(records, counted, START, end, now=START + 24 * HOUR)
        units = [int(store.read(stage).new_units.sum()) for stage in counted]
    assert units == [840, 1200, 0]


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ({"assigned": ["a"], "seen": ["b"]}, "one of them 'exposed'"),
        ({"exposed": ["a"]}, "name at least two"),
    ],
)
def test_stages_without_exposure_are_refused(stages: dict[str, list[str]], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        FlagAudit(key="checkout", start=START, stages=stages)


def test_the_column_of_stages_is_not_filtered_twice() -> None:
    with pytest.raises(ConfigError, match="leave it out of include"):
        FlagAudit(key="f", start=START, stages=STAGES, stage_column="event", include={"event": ["buy"]})
