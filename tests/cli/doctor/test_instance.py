"""The Dagster side, on a real instance."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.cli.doctor.instance import (
    diagnose_daemons,
    diagnose_settings,
    diagnose_switches,
    diagnose_version,
)
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.definitions.component.scaffold import DAGSTER_YAML
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.definitions.internals import InstanceFacts, instance_facts
from exd_dagster.telemetry.sources.duckdb import ParquetRecords

NOW = datetime(2026, 4, 1, tzinfo=timezone.utc)
WELL = InstanceFacts(
    daemons={"SENSOR": NOW, "SCHEDULER": NOW},
    errors={},
    switches={},
    run_monitoring=True,
    retries_failed_checks=False,
    pool_limits={"duckdb_writer": 1},
)


def plan(end: str | None = None, **running: bool) -> AuditPlan:
    return AuditPlan(
        name="exd",
        bins={},
        flags=(FlagAudit(key="checkout", start="2026-03-01", end=end),),
        records=ParquetRecords(path="log/*.parquet"),
        store=DuckDBResource(database="bins.duckdb"),
        thresholds=Thresholds(),
        timing=Timing(),
        pool="duckdb_writer",
        running=running,
    )


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance with the settings that `exd-dagster init` writes; making one takes two seconds."""
    folder = tmp_path_factory.mktemp("instance")
    (folder / "dagster.yaml").write_text(DAGSTER_YAML.replace(".dagster", str(folder / "home")))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def test_the_settings_that_init_writes_are_well(instance):
    (reported,) = diagnose_settings(instance_facts(instance, "duckdb_writer"))
    assert reported.state == "ok"


def test_settings_an_audit_does_badly_with_get_a_fix_each():
    facts = replace(
        WELL, run_monitoring=False, retries_failed_checks=True, pool_limits={"duckdb_writer": None}
    )
    found = diagnose_settings(facts)
    assert [reported.state for reported in found] == ["warn"] * 3
    assert "run_monitoring: {enabled: true" in found[0].fix
    assert "retry_on_asset_or_op_failure: false" in found[1].fix
    assert "default_limit: 1" in found[-1].fix


def test_the_pool_of_each_fleet_is_looked_at():
    found = diagnose_settings(replace(WELL, pool_limits={"duckdb_writer": 1, "search_writer": 3}))
    assert [reported.said for reported in found] == [
        "the pool search_writer lets 3 steps write the bin store at once"
    ]


def test_an_instance_whose_daemon_never_ran_fails():
    reported = diagnose_daemons(replace(WELL, daemons={"SENSOR": None, "SCHEDULER": None}), NOW)
    assert reported.state == "fail"
    assert "dagster dev" in reported.fix


def test_a_heartbeat_is_read_from_the_instance(instance):
    from dagster._daemon.types import DaemonHeartbeat

    now = datetime.now(timezone.utc)
    assert set(instance_facts(instance, "duckdb_writer").daemons.values()) == {None}
    for name in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(now.timestamp(), name, "id"))
    assert diagnose_daemons(instance_facts(instance, "duckdb_writer"), now).state == "ok"


def test_a_daemon_that_fell_silent_is_named():
    facts = replace(WELL, daemons={**WELL.daemons, "SENSOR": NOW - timedelta(hours=2)})
    reported = diagnose_daemons(facts, NOW)
    assert (reported.state, reported.said) == (
        "fail",
        "no heartbeat of SENSOR; the last of any was 2026-04-01 00:00 UTC",
    )


def test_a_sensor_switched_off_in_the_ui_fails():
    facts = replace(WELL, switches={"exd_check_alerts": False})
    (reported,) = diagnose_switches(facts, plan(exd_check_alerts=True, exd_nightly_audit=True), NOW)
    assert (reported.state, reported.said) == ("fail", "exd_check_alerts is stopped")


def test_a_schedule_that_does_not_start_by_itself_runs_once_switched_on():
    stopped = plan(exd_nightly_audit=False)
    assert [reported.state for reported in diagnose_switches(WELL, stopped, NOW)] == ["fail"]
    on = replace(WELL, switches={"exd_nightly_audit": True})
    assert [reported.state for reported in diagnose_switches(on, stopped, NOW)] == ["ok"]


def test_flags_that_have_ended_need_nothing_to_run():
    (reported,) = diagnose_switches(WELL, plan(end="2026-03-22", exd_nightly_audit=False), NOW)
    assert reported.state == "ok"


def test_a_switch_in_the_ui_is_read_from_the_instance(instance):
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="ours"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "exd_check_alerts")
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED))
    assert instance_facts(instance, "duckdb_writer").switches == {"exd_check_alerts": False}


def test_an_unproven_minor_of_dagster_is_a_warning():
    assert diagnose_version("1.13.40").state == "ok"
    assert diagnose_version("1.14.0").state == "warn"


def test_the_installed_dagster_is_a_proven_one():
    assert diagnose_version(dg.__version__).state == "ok"
