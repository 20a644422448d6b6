"""Records, flags and store are looked at as they are, and what is wrong ends with its fix."""

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.bins.store.store import open_store
from exd_dagster.cli.doctor.data import diagnose_data, diagnose_store
from exd_dagster.cli.doctor.diagnosis import Diagnosis
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.telemetry.sources.duckdb import FileRecords, IbisRecords, ParquetRecords, Records
from tests.logs import HOUR, START, healthy, rows, write
from tests.telemetry.presets.samples import START as EXPORTED
from tests.telemetry.presets.samples import sample, write_ndjson

SOON = START + 6 * HOUR
SPLIT = {"control": 0.5, "treatment": 0.5}


def plan(folder: Path, records: Records, *flags: FlagAudit, store: str = "bins.duckdb") -> AuditPlan:
    return AuditPlan(
        name="exd",
        bins={},
        flags=flags or (FlagAudit(key="checkout", split=SPLIT, start=START),),
        records=records,
        store=DuckDBResource(database=store if store == ":memory:" else str(folder / store)),
        thresholds=Thresholds(),
        timing=Timing(),
        pool="duckdb_writer",
        running={},
    )


@pytest.fixture
def log(tmp_path) -> ParquetRecords:
    staging = rows("search", healthy(1), environment="staging")
    frames = [rows("checkout", healthy(3)), rows("search", healthy(3)), staging]
    return ParquetRecords(path=write(tmp_path / "log", *frames))


def about(subject: str, audit: AuditPlan, now: datetime = SOON) -> list[Diagnosis]:
    return [diagnosis for diagnosis in diagnose_data(audit, now) if diagnosis.subject == subject]


def test_a_project_that_is_well_has_nothing_to_fix(tmp_path, log):
    found = diagnose_data(plan(tmp_path, log), SOON)
    assert {diagnosis.state for diagnosis in found} == {"ok"}
    assert not any(diagnosis.fix for diagnosis in found)


def test_the_fix_of_a_missing_package_is_to_install_it(tmp_path):
    (reported,) = about("records", plan(tmp_path, ParquetRecords(path="gs://bucket/*.parquet")))
    assert (reported.state, reported.fix) == ("fail", "install it where the runs are executed")


def test_a_missing_column_is_reported_with_its_name(tmp_path):
    (tmp_path / "log.csv").write_text("timestamp,flag_key,variant\n2026-03-01T00:00Z,checkout,a\n")
    (reported,) = about("records", plan(tmp_path, FileRecords(path=tmp_path / "log.csv")))
    assert reported.state == "fail"
    assert "variant_key" in reported.said
    assert "unit_id_hash" in reported.said


def test_records_that_stopped_coming_are_reported_unless_every_flag_has_ended(tmp_path, log):
    later = SOON + timedelta(days=5)
    (reported,) = about("records", plan(tmp_path, log), later)
    assert (reported.state, reported.fix) == ("warn", "check the job that loads the records")
    ended = FlagAudit(key="checkout", split=SPLIT, start=START, end=SOON)
    assert [reported.state for reported in about("records", plan(tmp_path, log, ended), later)] == ["ok"]


def test_a_damaged_line_is_reported_and_the_rest_counts(tmp_path):
    rows("checkout", healthy(3)).to_csv(tmp_path / "log.csv", index=False)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("2026-03-01T02")
    (reported,) = about("records", plan(tmp_path, FileRecords(path=tmp_path / "log.csv")))
    assert (reported.state, reported.fix) == ("warn", "repair or remove it; the rest is counted")
    assert "1 line cannot be read" in reported.said


def test_a_flag_without_records_gets_the_nearest_key(tmp_path, log):
    flag = FlagAudit(key="chekout", split=SPLIT, start=START)
    (reported,) = about("flags", plan(tmp_path, log, flag))
    assert (reported.state, reported.said) == ("fail", "'chekout' has no record")
    assert "Did you mean 'checkout'?" in reported.fix


def test_a_flag_of_several_environments_lists_them(tmp_path, log):
    flag = FlagAudit(key="search", split=SPLIT, start=START)
    (reported,) = about("flags", plan(tmp_path, log, flag))
    assert reported.said == "'search' has records in production, staging"
    named = FlagAudit(key="search", environment="staging", split=SPLIT, start=START)
    assert [reported.state for reported in about("flags", plan(tmp_path, log, named))] == ["ok"]


def test_flags_without_a_split_are_named(tmp_path, log):
    (reported,) = about("flags", plan(tmp_path, log, FlagAudit(key="checkout", start=START)))
    assert reported.state == "warn"
    assert reported.said == "1 of 1 declare no split, their SRM checks are skipped: checkout"


@pytest.mark.engines
def test_a_table_of_another_engine_is_reached(tmp_path, log):
    ibis = pytest.importorskip("ibis")
    connection = ibis.duckdb.connect()
    connection.read_parquet(log.paths[0], table_name="flag_evaluations")
    (reported,) = about(
        "records", plan(tmp_path, IbisRecords(connection=connection, table="flag_evaluations"))
    )
    assert reported.state == "ok"
    assert "columns timestamp, flag_key" in reported.said
    ((count,),) = connection.raw_sql("SELECT count(*) FROM flag_evaluations").fetchall()
    assert f"every run scans the {count:,} records since 2026-" in reported.said
    (lost,) = about("records", plan(tmp_path, IbisRecords(connection=connection, table="flag_evaluation")))
    assert lost.state == "fail"


def test_a_store_that_is_not_there_yet_is_well_and_is_not_made(tmp_path, log):
    assert diagnose_store(plan(tmp_path, log)).state == "ok"
    assert not (tmp_path / "bins.duckdb").exists()


@pytest.mark.parametrize(
    ("store", "fix"),
    [(":memory:", "DuckDBResource(database="), ("no/such/folder/bins.duckdb", "create the folder")],
)
def test_a_store_that_cannot_keep_bins_fails(tmp_path, log, store, fix):
    reported = diagnose_store(plan(tmp_path, log, store=store))
    assert reported.state == "fail"
    assert fix in reported.fix


def test_a_file_that_is_no_database_fails(tmp_path, log):
    (tmp_path / "bins.duckdb").write_text("not a database" * 1000)
    assert diagnose_store(plan(tmp_path, log)).state == "fail"


def test_a_store_of_a_newer_format_says_what_to_install(tmp_path, log):
    with open_store(tmp_path / "bins.duckdb"):
        pass
    with duckdb.connect(str(tmp_path / "bins.duckdb")) as connection:
        connection.execute("UPDATE exd_meta SET format = 99")
    reported = diagnose_store(plan(tmp_path, log))
    assert reported.state == "fail"
    assert "install" in reported.fix


def test_a_store_in_use_is_a_warning(tmp_path, log):
    path = tmp_path / "bins.duckdb"
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        holder.stdout.readline()
        assert diagnose_store(plan(tmp_path, log)).state == "warn"
    finally:
        holder.communicate()


def test_the_store_may_be_named_by_a_variable(tmp_path, log, monkeypatch):
    import dagster as dg

    monkeypatch.setenv("BINS", str(tmp_path / "here.duckdb"))
    named = plan(tmp_path, log)
    audit = AuditPlan(
        **{
            field: getattr(named, field)
            for field in ("name", "bins", "flags", "records", "thresholds", "timing", "pool", "running")
        },
        store=DuckDBResource(database=dg.EnvVar("BINS")),
    )
    assert "here.duckdb" in diagnose_store(audit).said


def test_log_that_cannot_be_read_is_reported_with_the_preset_that_fits(tmp_path):
    path = write_ndjson(sample("posthog").rows, tmp_path / "log.ndjson")
    (reported,) = about("records", plan(tmp_path, FileRecords(path=path)))
    assert reported.state == "fail"
    assert "looks like PostHog" in reported.fix
    assert "preset='posthog'" in reported.fix


def test_preset_by_which_a_log_is_read_is_reported(tmp_path):
    path = write_ndjson(sample("posthog").rows, tmp_path / "log.ndjson")
    flag = FlagAudit(key="checkout-redesign", split=SPLIT, start=EXPORTED)
    audit = plan(tmp_path, FileRecords(path=path, preset="posthog"), flag)
    (reported,) = about("records", audit, EXPORTED + timedelta(days=3))
    assert reported.state == "ok"
    assert "read as PostHog (preset 'posthog')" in reported.said
