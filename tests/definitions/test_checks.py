"""What a check says in Dagster: verdict, severity, metadata, causes, decisions, and on which asset."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.checks import build_flag_audit_checks
from exd_dagster.definitions.decisions.asset import record_decision
from exd_dagster.definitions.store import BinStoreResource
from tests.fleet import Fleet, built
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 6


def results(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def decide(instance: dg.DagsterInstance, kind: str) -> None:
    now = datetime.now(timezone.utc)
    decision = Decision(
        kind=kind, flags="bad", reason="known cache", by="ana", until=now + timedelta(days=1), made_at=now
    )
    record_decision(instance, decision)


@pytest.fixture
def bad(tmp_path: Path) -> Fleet:
    """A flag whose treatment is all but gone."""
    return Fleet(tmp_path, {"bad": broken(HOURS)})


def test_srm_has_exactly_exds_result_names_and_its_code(bad: Fleet, instance: dg.DagsterInstance) -> None:
    metadata = results(bad.run(instance))["srm"].metadata
    assert {"expected", "observed", "n", "chi_square", "p_value", "verdict", "threshold"} <= set(metadata)
    assert metadata["code"].value == "T001"
    assert metadata["threshold"].value == 0.001


def test_every_check_says_whose_it_is_and_through_which_hour(
    bad: Fleet, instance: dg.DagsterInstance
) -> None:
    for check in results(bad.run(instance)).values():
        if check.check_name in ("bins_built", "version_skew", "variant_integrity"):
            continue
        assert check.metadata["flag"].value == "bad"
        assert check.metadata["audited_through"].value == "2026-03-01T06:00:00Z"


def test_a_check_opens_with_its_sentence_and_then_its_picture(
    bad: Fleet, instance: dg.DagsterInstance
) -> None:
    shown = str(results(bad.run(instance))["srm"].description)
    first, _, rest = shown.partition("\n")
    assert first.startswith("SRM: ")
    assert "split wrong from the start" in first
    assert rest.strip().startswith("![srm of bad](data:image/svg+xml;base64,")


def test_the_one_answer_shows_the_picture_of_the_first_failing_check(
    bad: Fleet, instance: dg.DagsterInstance
) -> None:
    reported = results(bad.run(instance))
    pictures = {name: str(reported[name].description).partition("](")[2] for name in ("srm", "trust")}
    assert pictures["trust"] == pictures["srm"] != ""


def test_hours_that_were_not_delivered_are_not_checked_and_not_failed(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"late": [{}] * HOURS})
    write(tmp_path / "log", rows("other", healthy(1), start=START - timedelta(days=2)))
    reported = results(fleet.run(instance))
    assert reported["srm"].passed
    assert {
        reported[name].metadata["verdict"].value for name in ("srm", "sequential_srm", "traffic_drop")
    } == {"not_checked"}


def test_a_waiver_lets_reports_run_and_the_verdict_stays_fail(
    bad: Fleet, instance: dg.DagsterInstance
) -> None:
    decide(instance, "waive")
    result = bad.run(instance)
    assert built(result) == {"bad_bins", "bad_report"}
    srm, trust = results(result)["srm"], results(result)["trust"]
    assert (srm.passed, srm.severity, srm.metadata["verdict"].value) == (
        False,
        dg.AssetCheckSeverity.WARN,
        "fail",
    )
    assert srm.metadata["waived_by"].value == "ana"
    assert trust.passed
    assert "Waived by ana" in str(trust.metadata["details"].data["sentence"])


def test_a_silence_unblocks_nothing(bad: Fleet, instance: dg.DagsterInstance) -> None:
    decide(instance, "silence")
    assert built(bad.run(instance)) == {"bad_bins"}


def test_an_ended_audit_is_skipped_by_name(bad: Fleet, instance: dg.DagsterInstance) -> None:
    decide(instance, "end")
    result = bad.run(instance)
    assert (
        results(result)["srm"].metadata["details"].data["sentence"]
        == "Skipped: ana ended this audit (known cache)."
    )
    assert "bad_report" in built(result)


def test_a_broken_split_names_the_segment_that_carries_it(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"bad": healthy(HOURS, 40)})
    cached: pd.DataFrame = rows("bad", [{"control": 60, "treatment": 0}] * HOURS)
    cached["unit_id_hash"] = "cached-" + cached["unit_id_hash"]
    direct = rows("bad", healthy(HOURS, 40)).assign(sdk_version="0.5.0")
    heartbeat = rows("beat", healthy(1), start=START + (HOURS + 2) * HOUR).assign(sdk_version="0.5.0")
    write(tmp_path / "log", direct, cached.assign(sdk_version="0.4.9"), heartbeat)
    srm = results(fleet.run(instance))["srm"]
    causes = srm.metadata["causes"].value
    assert isinstance(causes, list)
    assert (causes[0]["dimension"], causes[0]["value"]) == ("sdk_version", "0.4.9")
    assert "\n\nLikely cause, from the data: sdk\\_version = 0.4.9: treatment 0 %" in str(srm.description)


def test_a_segment_that_came_with_a_ramp_is_no_cause_and_one_within_a_phase_is(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Over both phases the newer browser has more treatment than the older: that is the ramp, no fault."""
    before, after = {"control": 90, "treatment": 10}, {"control": 100, "treatment": 100}
    frames = [
        rows("f", [before] * 3).assign(browser="old"),
        rows("f", [after] * 3, start=START + 3 * HOUR).assign(browser="new"),
        rows("f", [{"control": 60}] * 2, start=START + 4 * HOUR).assign(browser="bot"),
        rows("beat", healthy(1), start=START + 8 * HOUR).assign(browser="new"),
    ]
    for number, frame in enumerate(frames):
        frame["unit_id_hash"] = f"{number}-" + frame["unit_id_hash"]
    log = write(tmp_path / "log", *frames)
    flag = FlagAudit(
        key="f",
        split={"control": 0.9, "treatment": 0.1},
        start=START,
        phases=[{"start": START + 3 * HOUR, "split": {"control": 0.5, "treatment": 0.5}}],
        dimensions=["browser"],
    )
    definitions = dg.Definitions(
        assets=[dg.AssetSpec("model")],
        asset_checks=[build_flag_audit_checks(flag, asset="model", records=log)],
        resources={"exd_store": BinStoreResource(duckdb=DuckDBResource(database=str(tmp_path / "s.duckdb")))},
    )
    job = dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())
    job = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("checks")
    found = results(job.execute_in_process(instance=instance, raise_on_error=False))
    causes = found["sequential_srm"].metadata["causes"].value
    assert [(c["value"], c["declared_share"]) for c in causes] == [("bot", 0.5)]


def test_a_segment_that_came_after_an_arm_had_died_everywhere_is_no_cause(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Over all hours the newer version has less treatment and carries most of the imbalance."""
    fleet = Fleet(tmp_path, {"bad": healthy(6, 40)})
    frames = [
        rows("bad", healthy(3, 40)).assign(sdk_version="0.4.9"),
        rows("bad", [{"control": 80}] * 3, start=START + 3 * HOUR).assign(sdk_version="0.5.0"),
        rows("bad", [{"control": 30}] * 3, start=START + 3 * HOUR).assign(sdk_version="0.4.9"),
        rows("beat", healthy(1), start=START + 8 * HOUR).assign(sdk_version="0.5.0"),
    ]
    frames[2]["unit_id_hash"] = "again-" + frames[2]["unit_id_hash"]
    write(tmp_path / "log", *frames)
    srm = results(fleet.run(instance))["srm"]
    assert "causes" not in srm.metadata
    assert str(srm.description).startswith("treatment gets no unit since 2026-03-01 03:00 UTC. SRM: ")


def test_a_healthy_flag_is_scanned_for_no_causes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert "causes" not in results(Fleet(tmp_path, {"good": healthy(HOURS)}).run(instance))["srm"].metadata


def test_manifests_released_over_weeks_are_no_skew(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Only versions still evaluated within the last day are compared."""
    fleet = Fleet(tmp_path, {"good": healthy(60)})
    released = rows("good", healthy(60))
    released["manifest_version"] = 1 + (released["timestamp"] - START) // (10 * HOUR)
    beat = rows("beat", healthy(1), start=START + 62 * HOUR).assign(manifest_version=6)
    write(tmp_path / "log", released, beat)
    skew = results(fleet.run(instance))["version_skew"]
    assert skew.passed
    assert sorted(int(v) for v in skew.metadata["versions"].value) == [4, 5, 6]


class TestOnAnyAsset:
    """`build_flag_audit_checks` on an asset that is not ours."""

    def materialize(
        self, folder: Path, instance: dg.DagsterInstance, counts: list[dict[str, int]]
    ) -> dg.ExecuteInProcessResult:
        log = write(
            folder / "log", rows("bad", counts), rows("beat", healthy(1), start=START + (HOURS + 2) * HOUR)
        )

        @dg.asset
        def dbt_model() -> None:
            """Stand for a model of dbt."""

        @dg.asset(deps=[dbt_model])
        def dashboard() -> None:
            """Stand for what reads it."""

        flag = FlagAudit(key="bad", split={"control": 0.5, "treatment": 0.5}, start=START)
        checks = build_flag_audit_checks(flag, asset=dbt_model, records=log)
        store = BinStoreResource(duckdb=DuckDBResource(database=str(folder / "bins.duckdb")))
        return dg.materialize(
            [dbt_model, dashboard, checks],
            instance=instance,
            resources={"exd_store": store},
            raise_on_error=False,
        )

    def test_a_failure_blocks_what_reads_it(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        assert built(self.materialize(tmp_path, instance, list(broken(HOURS)))) == {"dbt_model"}

    def test_a_healthy_flag_lets_it_be_read(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        assert built(self.materialize(tmp_path, instance, list(healthy(HOURS)))) == {"dbt_model", "dashboard"}
