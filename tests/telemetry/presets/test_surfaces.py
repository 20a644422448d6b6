"""A preset does the same wherever records are taken: tables, engines, commands, notebook, YAML, drill."""

import json
from datetime import timedelta

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import exd_dagster as exd
from exd_dagster.bins.store.store import BinStore
from exd_dagster.cli import main
from exd_dagster.cli.drill.drill import run_drill
from exd_dagster.cli.sources import read_sources
from exd_dagster.config import Timing
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.errors import ConfigError, RecordsError
from tests.telemetry.presets.samples import EXPORTS, FLAG, START, other, posthog, sample, write_ndjson

END, NOW = START + timedelta(days=3), START + timedelta(days=4)
ENGINES = (
    "exd",
    "posthog",
    "evidently",
    "go-feature-flag",
    "launchdarkly-warehouse",
    "ga4",
    "eppo",
    "microsoft",
)


def counted(records, flag):
    bins = exd.variant_bins(records, flag=flag, start=START, end=END, now=NOW)
    totals = bins.groupby("variant")[["new_units", "evaluations"]].sum()
    totals = totals[totals["evaluations"] > 0]
    return dict(totals["new_units"]), dict(totals["evaluations"])


def table(rows):
    """Return rows as an Arrow table, objects as structs, times of ISO text as they are."""
    return pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)


def engine(rows):
    backend = ibis.duckdb.connect()
    backend.con.register("rows", table(rows))
    backend.con.execute("CREATE TABLE log AS FROM rows")
    return backend


def as_text(value):
    return json.dumps(value) if isinstance(value, (dict, list)) else value


@pytest.mark.parametrize("name", ENGINES)
def test_engine_counts_a_preset_as_files_are_counted(name):
    made = sample(name, units=80)
    records = exd.IbisRecords(connection=engine(made.rows), table="log", preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


@pytest.mark.parametrize("name", ["featbit", "opentelemetry-otlp"])
def test_engine_makes_a_row_of_each_element_of_a_list(name):
    made = sample(name, units=80)
    records = exd.IbisRecords(connection=engine(made.rows), table="log", preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


def test_engine_refuses_a_wrong_preset_with_the_one_that_fits():
    records = exd.IbisRecords(connection=engine(sample("eppo", units=20).rows), table="log", preset="exd")
    with pytest.raises(RecordsError, match="preset='eppo'"):
        counted(records, FLAG)


@pytest.mark.parametrize("name", ["opentelemetry-otlp", "ga4", "featbit", "launchdarkly", "posthog"])
def test_parquet_with_structs_and_lists_is_counted_as_json(name, tmp_path):
    made = sample(name)
    pq.write_table(table(made.rows), tmp_path / "log.parquet")
    records = exd.ParquetRecords(path=tmp_path / "log.parquet", preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


@pytest.mark.parametrize("name", ["opentelemetry-otlp", "ga4", "posthog"])
def test_duckdb_table_of_json_text_is_counted_as_json(name, tmp_path):
    made = sample(name)
    rows = [
        {k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in row.items()} for row in made.rows
    ]
    with duckdb.connect(str(tmp_path / "log.duckdb")) as connection:
        connection.register("rows", table(rows))
        connection.execute("CREATE TABLE log AS FROM rows")
    records = exd.TableRecords(table="log", database=tmp_path / "log.duckdb", preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


def test_map_column_of_clickhouse_is_read(tmp_path):
    rows = [EXPORTS["opentelemetry"].row(f"u{i % 40}", "ab"[i % 2], START, i) for i in range(80)]
    maps = pa.array(
        [[(k, str(v)) for k, v in row.items()] for row in rows], pa.map_(pa.string(), pa.string())
    )
    times = pa.array([pd.Timestamp(row["timestamp"]) for row in rows])
    pq.write_table(pa.table({"Timestamp": times, "LogAttributes": maps}), tmp_path / "log.parquet")
    records = exd.ParquetRecords(path=tmp_path / "log.parquet", preset="opentelemetry")
    assert counted(records, FLAG)[0] == {"a": 20, "b": 20}


def test_objects_written_as_text_in_some_rows_only_are_read(tmp_path):
    made = sample("posthog")
    for number, row in enumerate(made.rows):
        if number % 3 == 0:
            row["properties"] = json.dumps(row["properties"])
    records = exd.FileRecords(path=write_ndjson(made.rows, tmp_path / "log.ndjson"), preset="posthog")
    assert counted(records, made.flag) == (made.units, made.evaluations)


def test_csv_with_objects_as_json_is_read(tmp_path):
    made = sample("posthog")
    rows = [{**row, "properties": json.dumps(row["properties"])} for row in made.rows]
    pd.DataFrame(rows).to_csv(tmp_path / "log.csv", index=False)
    assert counted(exd.FileRecords(path=tmp_path / "log.csv", preset="posthog"), made.flag) == (
        made.units,
        made.evaluations,
    )


@pytest.mark.parametrize("indent", [None, 2])
def test_one_document_of_the_collector_is_read(indent, tmp_path):
    made = sample("opentelemetry-otlp")
    whole = {
        key: [part for row in made.rows for part in row.get(key, [])]
        for key in ("resourceLogs", "resourceSpans")
    }
    (tmp_path / "otlp.json").write_text(json.dumps(whole, indent=indent))
    records = exd.FileRecords(path=tmp_path / "otlp.json", preset="opentelemetry-otlp")
    assert counted(records, made.flag) == (made.units, made.evaluations)


def test_unit_of_a_multi_context_is_the_one_asked_for(tmp_path):
    rows = [row for row in sample("launchdarkly").rows if row["kind"] == "feature" and "variation" in row]
    multi = [row for row in rows if row["context"]["kind"] == "multi"]
    accounts = {row["context"]["account"]["key"] for row in multi}
    records = exd.FileRecords(
        path=write_ndjson(multi, tmp_path / "log.ndjson"), preset="launchdarkly", unit="account"
    )
    assert sum(counted(records, FLAG)[0].values()) == len(accounts)


def test_not_assigned_is_told_as_a_reason_and_never_an_arm(tmp_path):
    made = sample("amplitude")
    records = exd.FileRecords(path=write_ndjson(made.rows, tmp_path / "log.ndjson"), preset="amplitude")
    flag = exd.FlagAudit(key=FLAG, start=START)
    with duckdb.connect() as connection:
        store = BinStore(connection)
        store.update(records, [flag], START, NOW, now=NOW)
        query = "SELECT detail, sum(count) FROM exd_facts WHERE name = 'excluded_reason' GROUP BY detail"
        assert connection.execute(query).fetchall() == [("not_assigned", made.fallbacks)]
        assert set(store.read(flag).variants) == set(made.units)


def test_rows_may_be_chosen_without_a_preset(tmp_path):
    rows = [row for row in sample("posthog").rows if row["event"] == "$feature_flag_called"]
    view = [other(posthog, event="custom")(f"x{i}", START, i) for i in range(5)]
    columns = {
        "flag_key": "properties.$feature_flag",
        "variant_key": ("properties.arm", "properties.$feature_flag_response"),
        "unit_id_hash": "distinct_id",
    }
    path = write_ndjson([*rows, *view], tmp_path / "log.ndjson")
    records = exd.FileRecords(path=path, columns=columns, where={"event": "$feature_flag_called"})
    assert counted(records, FLAG)[0] == sample("posthog").units


def test_command_takes_the_preset(tmp_path):
    made = sample("posthog")
    path = write_ndjson(made.rows, tmp_path / "log.ndjson")
    split = ",".join(f"{arm}={count / sum(made.units.values())}" for arm, count in made.units.items())
    asked = ["srm", "--flag", FLAG, "--source", str(path), "--preset", "posthog", "--expected", split]
    window = ["--from", START.isoformat(), "--to", END.isoformat(), "--format", "json"]
    done = CliRunner().invoke(main, ["telemetry", *asked, *window], catch_exceptions=False)
    assert json.loads(done.output)["result"]["n"] == sum(made.units.values())


def test_several_sources_of_one_preset_are_read_as_one(tmp_path):
    made = sample("posthog")
    write_ndjson(made.rows[::2], tmp_path / "a.ndjson")
    pq.write_table(table(made.rows[1::2]), tmp_path / "b.parquet")
    paths = [str(tmp_path / "a.ndjson"), str(tmp_path / "b.parquet")]
    assert counted(read_sources(paths, preset="posthog"), FLAG) == (made.units, made.evaluations)


@pytest.mark.parametrize("name", ["posthog", "opentelemetry-otlp", "amplitude"])
def test_drill_copies_what_a_preset_reads_and_applies_it_once(name, tmp_path):
    made = sample(name, units=600)
    records = exd.FileRecords(path=write_ndjson(made.rows, tmp_path / "log.ndjson"), preset=name)
    flag = exd.FlagAudit(key=FLAG, start=START, split={"control": 0.5, "treatment": 0.5})
    levels, begins = {"thresholds": exd.Thresholds(), "timing": Timing()}, START + timedelta(days=1)
    result = run_drill(records, flag, "dead_arm", **levels, since=begins, now=END)
    detected = {found.check: found.blocked or found.warned for found in result.checks}
    assert detected["srm"] or detected["sequential_srm"]


def test_notebook_takes_the_preset():
    made = sample("posthog")
    monitor = exd.LiveMonitor(pd.DataFrame(made.rows), preset="posthog", now=END)
    seen = monitor.check_live_srm({"control": 0.5, "treatment": 0.5})
    assert sorted(seen["observed_counts"]) == sorted(made.units.values())
    assert seen["quarantined"] == {"excluded_reason": made.fallbacks}


def test_notebook_asks_for_the_flag_where_the_frame_holds_several():
    rows = sample("eppo").rows
    rows[0]["experiment"] = "other"
    with pytest.raises(ConfigError, match="it holds 2: checkout-redesign, other"):
        exd.LiveMonitor(pd.DataFrame(rows), preset="eppo").get_binned_traffic()


def test_bins_of_any_source_take_the_preset(tmp_path):
    made = sample("posthog")
    path = write_ndjson(made.rows, tmp_path / "log.ndjson")
    bins = exd.variant_bins(str(path), flag=FLAG, preset="posthog", start=START, now=NOW)
    assert bins["new_units"].sum() == sum(made.units.values())


def test_component_takes_the_preset():
    records = {"type": "files", "path": "log.ndjson", "preset": "launchdarkly", "unit": "account"}
    flags = [{"key": "a", "start": "2026-03-01"}]
    component = FlagAuditComponent(records=records, flags=flags, store="bins.duckdb")
    assert (component.records.preset, component.records.unit) == ("launchdarkly", "account")


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_names_in_capitals_are_read_as_a_warehouse_writes_them(form, tmp_path):
    made = sample("launchdarkly-warehouse")
    frame = pd.DataFrame(made.rows).rename(columns=str.upper)
    path = tmp_path / f"log.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "ndjson":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    kind = exd.ParquetRecords if form == "parquet" else exd.FileRecords
    records = kind(path=path, preset="launchdarkly-warehouse")
    assert counted(records, made.flag) == (made.units, made.evaluations)


def test_rows_that_are_no_exposures_are_passed_over_and_not_quarantined(tmp_path):
    made = sample("posthog")
    records = exd.FileRecords(path=write_ndjson(made.rows, tmp_path / "log.ndjson"), preset="posthog")
    with duckdb.connect() as connection:
        report = BinStore(connection).update(
            records, [exd.FlagAudit(key=FLAG, start=START)], START, NOW, now=NOW
        )
    assert not any(report.quarantined.values())
