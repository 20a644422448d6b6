"""Odd logs: each oddity has one stated behaviour."""

from datetime import datetime, timezone

import pandas as pd
import pytest

from exd_dagster.bins.frame import variant_bins
from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.records import BEFORE_2000, UNREADABLE_TIME
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords, FileRecords
from tests.bins.conftest import HOUR, NOW, START, cells, facts, flag, log, update

LATE = (30, "end", "control")
ROWS = [(1, "a", "control"), (2, "b", "treatment"), LATE]
COUNTED = {(1, "control"): (1, 1, 1), (2, "treatment"): (1, 1, 1)}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_numbers_since_1970_are_read_by_their_size(store, unit, kind):
    source = log(*ROWS)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    source["timestamp"] = pd.Series([int(at.timestamp()) * scale for at in source["timestamp"]]).astype(kind)
    update(store, source)
    assert cells(store.read(flag())) == COUNTED


def test_mixed_offsets_are_one_instant(store):
    source = log((1, "a", "control"), (1, "b", "control"), (1, "c", "control"), LATE)
    source["timestamp"] = [
        "2026-03-01T01:00:00Z",
        "2026-03-01T06:30:00+05:30",
        "2026-02-28 17:00:00.123456-08",
        "2026-03-02T06:00:00z",
    ]
    update(store, source)
    assert cells(store.read(flag())) == {(1, "control"): (3, 3, 3)}


def test_times_without_an_offset_are_utc(store):
    source = log(*ROWS)
    source["timestamp"] = pd.DatetimeIndex(source["timestamp"]).tz_localize(None)
    update(store, source)
    assert cells(store.read(flag())) == COUNTED


@pytest.mark.parametrize(
    ("local", "utc"), [("2026-03-01 02:00", 1), ("2026-03-29 03:30", 673), ("2026-03-29 01:30", 672)]
)
def test_times_without_an_offset_are_of_the_zone_a_source_names(store, local, utc):
    """Berlin is one hour ahead, from 29 March two; 02:30 of that day does not exist."""
    source = log((0, "a", "control"), (0, "end", "control"))
    source["timestamp"] = [pd.Timestamp(local), pd.Timestamp("2026-04-01")]
    now = datetime(2026, 4, 2, tzinfo=timezone.utc)
    update(store, DataFrameRecords(frame=source, time_zone="Europe/Berlin"), now=now, hours=(0, 800))
    assert cells(store.read(flag())) == {(utc, "control"): (1, 1, 1)}


def test_the_hour_that_autumn_repeats_is_counted_in_one_of_the_two(store):
    """A local log cannot say which; write offsets to keep them apart."""
    source = log((0, "a", "control"), (0, "b", "control"), (0, "c", "control"), (0, "end", "control"))
    times = ["2026-10-25 01:30", "2026-10-25 02:30", "2026-10-25 03:30", "2026-10-26"]
    source["timestamp"] = [pd.Timestamp(time) for time in times]
    audit = flag(start="2026-10-24")
    now = datetime(2026, 10, 27, tzinfo=timezone.utc)
    records = DataFrameRecords(frame=source, time_zone="Europe/Berlin")
    store.update(records, [audit], audit.start, now, now=now)
    bins = store.read(audit)
    counted = [hour.hour for i, hour in enumerate(bins.hours) if bins.units[i].any()]
    assert counted in ([23, 0, 2], [23, 1, 2])
    assert int(bins.new_units.sum()) == 3


def test_a_time_before_2000_or_of_no_kind_is_quarantined(store):
    source = log(*ROWS, (1, "c", "control"), (1, "d", "control"), (1, "e", "control"))
    texts = [at.isoformat() for at in source["timestamp"]]
    source["timestamp"] = [*texts[:3], "1970-01-01", "yesterday", None]
    report = update(store, source)
    assert report.quarantined == {BEFORE_2000: 1, UNREADABLE_TIME: 2}
    assert cells(store.read(flag())) == COUNTED


def test_infinite_times_are_quarantined(connection, store):
    connection.execute(
        "CREATE TABLE odd AS SELECT unnest(['infinity', '-infinity', '2026-03-01 01:00', '2026-03-02 06:00'])"
        "::TIMESTAMP AS timestamp, 'checkout' AS flag_key, 'control' AS variant_key, 'a' AS unit_id_hash"
    )
    from exd_dagster.telemetry.sources.duckdb import TableRecords

    report = update(store, TableRecords(table="odd"))
    assert sum(report.quarantined.values()) == 2
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


@pytest.mark.parametrize(
    ("values", "names"), [([0, 1, 0], ("0", "1")), ([True, False, True], ("false", "true"))]
)
def test_integer_and_boolean_variants_are_their_text(store, values, names):
    source = log(*ROWS).assign(variant_key=values)
    audit = FlagAudit(key="checkout", start=START)
    update(store, source, audit)
    assert store.read(audit).variants == names


def test_five_thousand_variants_are_counted_and_the_most_seen_are_named(store):
    rows = [(1, f"u{i}", f"v{i}") for i in range(5000)]
    update(store, log(*rows, LATE))
    bins = store.read(flag())
    assert int(bins.new_units.sum()) == 5000
    assert len(bins.variants) == 53


@pytest.mark.parametrize(
    "name",
    [
        "'; DROP TABLE exd_bins;--",
        "../../etc/passwd",
        'quo"ted',
        "emoji \N{ROCKET}",
        "\N{RIGHT-TO-LEFT OVERRIDE}gpj",
        "nul\0inside",
        "line\nbreak\ttab",
        "a-b",
        "%Y{x}$1",
        " ",
    ],
)
def test_flags_and_variants_of_any_name_are_counted(store, name):
    source = log(*ROWS).assign(flag_key=name).replace({"variant_key": {"treatment": name}})
    audit = FlagAudit(key=name, start=START, split={"control": 0.5, name: 0.5}, ignore_variants=(name + "'",))
    update(store, source, audit, flag("a_b"))
    assert cells(store.read(audit)) == {(1, "control"): (1, 1, 1), (2, name): (1, 1, 1)}
    assert cells(store.read(flag("a_b"))) == {}


def test_a_line_of_ndjson_may_hold_numbers_and_booleans(store, tmp_path):
    path = tmp_path / "log.ndjson"
    path.write_text(
        '{"timestamp": 1772326800000, "flag_key": "checkout", "variant_key": true, "unit_id_hash": 5}\n'
        '{"timestamp": 1772431200.0, "flag_key": "checkout", "variant_key": false, "unit_id_hash": 6}\n'
    )
    audit = FlagAudit(key="checkout", start=START)
    update(store, FileRecords(path=path), audit)
    assert cells(store.read(audit)) == {(1, "true"): (1, 1, 1)}


def test_a_file_still_being_written_is_read_whole_by_a_later_run(store, tmp_path):
    path = tmp_path / "log.csv"
    whole = log(*ROWS).assign(timestamp=lambda t: t["timestamp"].astype(str)).to_csv(index=False)
    path.write_text(whole[: whole.index("treatment") - 20])
    update(store, path)
    path.write_text(whole)
    update(store, path)
    assert cells(store.read(flag())) == COUNTED


def test_nan_units_and_variants_are_missing_ones():
    source = log((1, 1.0, "a"), (1, float("nan"), "a"), (1, 2.0, None))
    source["unit_id_hash"] = source["unit_id_hash"].astype("float64")
    table = variant_bins(source, flag="checkout", now=NOW)
    assert table[["variant", "new_units", "units", "evaluations"]].to_numpy().tolist() == [["a", 1, 1, 1]]


def test_facts_of_hours_that_are_not_closed_are_not_reported(store):
    update(store, log((1, None, "control"), (2, "a", "control")))
    assert facts(store.read(flag())) == {}
    assert store.read(flag()).audited_through == START + HOUR
