"""Files of one log that differ: in types, in what they hold, in whether they hold anything or can be read."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import instant_ms
from exd_dagster.telemetry.sources.duckdb import ParquetRecords, TableRecords
from tests.bins.conftest import HOUR, START, cells, flag, log, update

LATE = (30, "end", "control")
ROWS = [(1, "5", "control"), (2, "7", "control"), LATE]
COUNTED = {(1, "control"): (1, 1, 1), (2, "control"): (1, 1, 1)}


def counted(source, *flags):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'America/New_York'")  # no session may shift an hour
    store = BinStore(connection)
    report = update(store, source, *flags)
    return cells(store.read(flags[0] if flags else flag())), report


UNITS = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "double": pa.float64(),
    "text": pa.string(),
}


@pytest.mark.parametrize("first", UNITS)
@pytest.mark.parametrize("second", UNITS)
def test_a_unit_is_the_same_whatever_type_each_file_has_for_it(first, second, tmp_path):
    for name, kind in (("a", first), ("b", second)):
        table = log((1, 5, "control"), (2, 7, "control"), (30, 8, "control"))
        units = [str(unit) if kind == "text" else unit for unit in table["unit_id_hash"]]
        columns = {column: table[column].tolist() for column in table}
        pq.write_table(
            pa.table({**columns, "unit_id_hash": pa.array(units, UNITS[kind])}), tmp_path / f"{name}.parquet"
        )
    found, _ = counted(tmp_path / "*.parquet")
    assert found == {(1, "control"): (1, 1, 2), (2, "control"): (1, 1, 2)}


TIMES = {
    "aware": lambda at: at,
    "naive": lambda at: at.dt.tz_localize(None),
    "naive, in nanoseconds": lambda at: at.dt.tz_localize(None).astype("datetime64[ns]"),
    "text": lambda at: at.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "text without an offset": lambda at: at.dt.strftime("%Y-%m-%d %H:%M:%S"),
    "milliseconds since 1970": lambda at: at.astype("int64") // 1000,
    "no time at all": lambda at: None,
}


@pytest.mark.parametrize("kind", TIMES)
def test_an_instant_is_the_same_whatever_type_each_file_has_for_it(kind, tmp_path):
    whole = log(*ROWS)
    whole["timestamp"] = whole["timestamp"].astype("datetime64[us, UTC]")
    whole.to_parquet(tmp_path / "a.parquet")
    whole.assign(timestamp=TIMES[kind](whole["timestamp"])).to_parquet(tmp_path / "b.parquet")
    for order in ("ab", "ba"):
        found, report = counted([str(tmp_path / f"{name}.parquet") for name in order])
        evaluations = 1 if kind == "no time at all" else 2
        assert found == dict.fromkeys(COUNTED, (1, 1, evaluations))
        assert report.quarantined.get("unreadable_time", 0) == (3 if evaluations == 1 else 0)


def test_naive_times_beside_aware_ones_are_of_the_logs_zone(tmp_path):
    whole = log(*ROWS)
    whole.to_parquet(tmp_path / "a.parquet")
    local = whole["timestamp"].dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
    whole.assign(timestamp=local).to_parquet(tmp_path / "b.parquet")
    source = ParquetRecords(path=tmp_path / "*.parquet", time_zone="Europe/Berlin")
    assert counted(source)[0] == dict.fromkeys(COUNTED, (1, 1, 2))


@pytest.mark.parametrize("column", ["evaluation_id", "manifest_version", "variant_key"])
def test_a_column_that_turns_from_numbers_to_text_is_read_in_both(column, tmp_path):
    log(*ROWS).assign(**{column: [1, 2, 3]}).to_parquet(tmp_path / "a.parquet")
    log(*ROWS).assign(**{column: ["1", "two", "three"]}).to_parquet(tmp_path / "b.parquet")
    found, _ = counted(tmp_path / "*.parquet", flag(split={"1": 0.5, "2": 0.5}))
    assert sum(units for units, _, _ in found.values()) == 2


def test_an_object_column_that_gains_a_key_is_read_in_both(tmp_path):
    log(*ROWS).assign(context_attributes=[{"country": "de"}] * 3).to_parquet(tmp_path / "a.parquet")
    rows = [(1, "x", "control"), (1, "y", "control"), LATE]
    attributes = [{"country": country, "plan": "free"} for country in ("us", "de", "de")]
    log(*rows).assign(context_attributes=attributes).to_parquet(tmp_path / "b.parquet")
    audit = flag(exclude={"context_attributes.country": ["us"]})
    found, _ = counted(tmp_path / "*.parquet", audit)
    assert found == {(1, "control"): (2, 2, 2), (2, "control"): (1, 1, 1)}


@pytest.mark.parametrize("ending", ["ndjson", "csv", "csv.gz"])
def test_a_log_to_which_nothing_was_written_yet_has_no_records(ending, tmp_path):
    (tmp_path / f"log.{ending}").touch()
    found, report = counted(tmp_path / f"*.{ending}")
    assert found == {}
    assert report.watermark is None


def test_a_parquet_file_without_rows_has_no_records(tmp_path):
    log(*ROWS).iloc[:0].to_parquet(tmp_path / "a.parquet")
    assert counted(tmp_path / "a.parquet")[0] == {}
    log(*ROWS).to_parquet(tmp_path / "b.parquet")
    assert counted(tmp_path / "*.parquet")[0] == COUNTED


def bad_text(path):
    """Write Parquet whose unit ids are said to be UTF-8 and are not."""
    frame = log(*ROWS[:2])
    bytes_ = pa.array([b"secret\xff unit", b"another"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, bytes_.buffers())
    pq.write_table(pa.table({**{name: frame[name].tolist() for name in frame}, "unit_id_hash": text}), path)


def test_text_that_is_not_utf8_is_reported_of_its_file_and_never_shown(tmp_path):
    bad_text(tmp_path / "bad.parquet")
    with pytest.raises(RecordsError, match=r"bad\.parquet: is damaged") as error:
        counted(tmp_path / "bad.parquet")
    assert "secret" not in str(error.value)
    log(*ROWS).to_parquet(tmp_path / "good.parquet")
    found, report = counted(tmp_path / "*.parquet")
    assert found == COUNTED
    assert [part.file for part in report.unreadable] == [str(tmp_path / "bad.parquet")]
    assert "secret" not in str(report)


@pytest.mark.parametrize(("ending", "line"), [("ndjson", 1), ("csv", 2)])
def test_a_line_that_is_not_utf8_is_named_by_number(ending, line, tmp_path):
    rows = [(1, "first unit", "control"), *ROWS[1:]]
    frame = log(*rows).assign(timestamp=lambda t: t["timestamp"].astype(str))
    path = tmp_path / f"log.{ending}"
    whole = frame.to_csv(index=False) if ending == "csv" else frame.to_json(orient="records", lines=True)
    path.write_bytes(whole.encode().replace(b"first unit", b"\xff"))
    found, report = counted(path)
    assert found == {(2, "control"): (1, 1, 1)}
    assert report.unreadable[0].why.startswith(f"1 line cannot be read: line {line}")


def test_text_in_another_encoding_is_refused_with_the_fix(tmp_path):
    frame = log(*ROWS).assign(timestamp=lambda t: t["timestamp"].astype(str))
    (tmp_path / "log.csv").write_bytes(frame.to_csv(index=False).encode("utf-16"))
    with pytest.raises(RecordsError, match="it is not UTF-8 text; convert it"):
        counted(tmp_path / "log.csv")


def test_a_value_that_a_view_cannot_cast_is_never_shown():
    connection = duckdb.connect()
    connection.execute(
        "CREATE VIEW evaluations AS SELECT unnest(['2026-03-01', 'a secret']) :: TIMESTAMP AS timestamp, "
        "'checkout' AS flag_key, 'control' AS variant_key, 'a' AS unit_id_hash"
    )
    with pytest.raises(RecordsError, match="cannot be counted: Conversion Error") as error:
        update(BinStore(connection), TableRecords(table="evaluations"))
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_row_groups_outside_the_window_stay_unread_when_a_column_comes_later(tmp_path):
    """Files of two schemas are still one scan that skips by time."""
    log(*ROWS).to_parquet(tmp_path / "a.parquet")
    old = log(*((-1000 + i / 1000, f"u{i}", "control") for i in range(1000)), country="de")
    old.to_parquet(tmp_path / "b.parquet")
    source, connection = ParquetRecords(path=tmp_path / "*.parquet"), duckdb.connect()
    with source.open(connection, START, START + 48 * HOUR, ["country"]) as scan:
        columns = source.column_map.resolve(scan, ["country"])
        where = columns.between(instant_ms(START), instant_ms(START + 48 * HOUR))
        query = f"EXPLAIN ANALYZE SELECT count(*) FROM {scan.relation} WHERE {where}"
        plan = connection.execute(query).fetchall()[0][1]
    assert "3 rows" in plan
    assert "1,000 rows" not in plan
