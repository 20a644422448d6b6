"""Sources: the same records give the same bins from every kind of log, and what cannot be read is named."""

import glob
import gzip
import json

import duckdb
import pandas as pd
import pytest

from exd_dagster.bins.frame import variant_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.errors import ConfigError, RecordsError
from exd_dagster.telemetry.sources.duckdb import FileRecords, ParquetRecords, TableRecords, as_records
from tests.bins.conftest import HOUR, NOW, START, cells, flag, log, update

LATE = (30, "end", "control")
ROWS = [(1, "a", "control"), (1, "a", "control"), (2, "b", "treatment"), LATE]
COUNTED = {(1, "control"): (1, 1, 2), (2, "treatment"): (1, 1, 1)}


def fresh():
    return BinStore(duckdb.connect())


def counted(source, *flags, **options):
    store = fresh()
    report = update(store, source, *flags, **options)
    return cells(store.read(flags[0] if flags else flag())), report


def texts(frame):
    return frame.assign(timestamp=[f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z" for at in frame["timestamp"]])


def write_ndjson(path, frame):
    path.write_text("".join(json.dumps(row) + "\n" for row in texts(frame).to_dict("records")))
    return path


@pytest.mark.parametrize(
    "kind", ["parquet", "ndjson", "ndjson.gz", "csv", "csv.gz", "tsv", "frame", "table", "database"]
)
def test_every_kind_of_log_gives_the_same_bins(kind, tmp_path):
    frame, path = log(*ROWS), tmp_path / f"log.{kind}"
    connection = duckdb.connect()
    source = str(path)
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind.startswith("ndjson"):
        plain = write_ndjson(tmp_path / "plain", frame).read_bytes()
        path.write_bytes(gzip.compress(plain) if kind.endswith("gz") else plain)
    elif kind in ("csv", "csv.gz", "tsv"):
        texts(frame).to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    elif kind == "frame":
        source = frame
    elif kind == "table":
        connection.execute("CREATE TABLE evaluations AS SELECT * FROM frame")
        source = TableRecords(table="evaluations")
    else:
        with duckdb.connect(str(path)) as other:
            other.execute("CREATE SCHEMA raw; CREATE TABLE raw.evaluations AS SELECT * FROM frame")
        source = TableRecords(table="raw.evaluations", database=path)
    store = BinStore(connection)
    update(store, source)
    update(store, source)
    assert cells(store.read(flag())) == COUNTED


def test_columns_are_mapped_and_constants_fill_what_a_log_lacks(tmp_path):
    frame = log(*ROWS).rename(columns={"unit_id_hash": "user", "variant_key": "group", "timestamp": "at"})
    frame.drop(columns="flag_key").to_parquet(tmp_path / "log.parquet")
    source = ParquetRecords(
        path=tmp_path / "log.parquet",
        columns={"unit_id_hash": "user", "variant_key": "group", "timestamp": "at"},
        constants={"flag_key": "checkout"},
    )
    assert counted(source)[0] == COUNTED


def test_a_column_name_in_other_case_is_found(tmp_path):
    log(*ROWS).rename(columns=str.upper).to_parquet(tmp_path / "log.parquet")
    assert counted(tmp_path / "log.parquet")[0] == COUNTED


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson"])
def test_a_missing_column_is_named_with_the_nearest_one_and_the_fix(ending, tmp_path):
    frame, path = (
        texts(log(*ROWS)).rename(columns={"variant_key": "variant_keys"}),
        tmp_path / f"log.{ending}",
    )
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    with pytest.raises(RecordsError) as error:
        counted(path)
    assert str(path) in str(error.value)
    assert "no column 'variant_key' for variant_key. Did you mean 'variant_keys'?" in str(error.value)
    assert "columns={'variant_key': ...}" in str(error.value)


def test_a_timestamp_of_a_type_that_holds_no_instant_is_named(tmp_path):
    log(*ROWS).assign(timestamp=[[1]] * 4).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(RecordsError, match=r"column 'timestamp' for timestamp has type BIGINT\[\]"):
        counted(tmp_path / "log.parquet")
    log(*ROWS).assign(timestamp=True).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(RecordsError, match="type BOOLEAN, which is not a time"):
        counted(tmp_path / "log.parquet")


def test_no_file_is_an_error_that_names_the_pattern(tmp_path):
    with pytest.raises(RecordsError, match=r"no file matches .*\*\.parquet"):
        counted(tmp_path / "*.parquet")


def test_a_file_that_is_no_parquet_is_named_and_the_others_count(tmp_path):
    log(*ROWS).to_parquet(tmp_path / "good.parquet")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "good.parquet").read_bytes()[:-20])
    found, report = counted(tmp_path / "*.parquet")
    assert found == COUNTED
    assert [part.file.split("/")[-1] for part in report.unreadable] == ["empty.parquet", "torn.parquet"]


def test_a_parquet_file_damaged_behind_its_footer_is_named_and_the_others_count(tmp_path):
    log(*ROWS).to_parquet(tmp_path / "good.parquet")
    connection = duckdb.connect()
    bad = tmp_path / "bad.parquet"
    connection.execute(
        "COPY (SELECT TIMESTAMPTZ '2026-03-01 05:00:00+00' AS timestamp, 'checkout' AS flag_key, "
        f"'control' AS variant_key, md5(i::VARCHAR) AS unit_id_hash FROM range(20000) t(i)) TO '{bad}' "
        f"(COMPRESSION zstd)"
    )
    content = bytearray(bad.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    bad.write_bytes(content)
    found, report = counted(tmp_path / "*.parquet")
    assert found == COUNTED
    assert [part.file for part in report.unreadable] == [str(bad)]
    assert "is damaged" in report.unreadable[0].why


def test_a_file_without_a_column_the_others_have_is_named_and_left_out(tmp_path):
    log(*ROWS).to_parquet(tmp_path / "a.parquet")
    log(*ROWS).drop(columns="variant_key").to_parquet(tmp_path / "b.parquet")
    found, report = counted(tmp_path / "*.parquet")
    assert found == COUNTED
    assert report.unreadable[0].why == "has no column 'variant_key', which the other files have"


def test_a_new_optional_column_in_later_files_is_used_where_it_is(tmp_path):
    log(*ROWS[:2]).to_parquet(tmp_path / "a.parquet")
    log(*ROWS[2:], evaluation_reason="off").to_parquet(tmp_path / "b.parquet")
    assert counted(tmp_path / "*.parquet")[0] == {(1, "control"): (1, 1, 2)}


@pytest.mark.parametrize("ending", ["ndjson", "csv"])
def test_a_last_line_that_is_cut_off_keeps_the_rest_and_is_named(ending, tmp_path):
    path = tmp_path / f"log.{ending}"
    if ending == "ndjson":
        write_ndjson(path, log(*ROWS))
    else:
        texts(log(*ROWS)).to_csv(path, index=False)
    path.write_text(path.read_text() + path.read_text().splitlines()[-1][:30])
    found, report = counted(path)
    assert found == COUNTED
    last = 5 + (ending == "csv")
    assert report.unreadable[0].why == f"1 line cannot be read: line {last}"
    assert report.quarantined == {"unreadable_line": 1}


def test_lines_that_are_no_records_are_named_by_number_and_never_shown(tmp_path):
    path = write_ndjson(tmp_path / "log.ndjson", log(*ROWS))
    path.write_text("secret\n[1, 2]\n\n" + path.read_text() + '{"another": "event"}\n')
    found, report = counted(path)
    assert found == COUNTED
    assert report.unreadable[0].why == "3 lines cannot be read: lines 1, 2, 8"
    assert "secret" not in str(report)


def test_a_gzip_that_ends_early_is_named_and_the_others_count(tmp_path):
    write_ndjson(tmp_path / "good.ndjson", log(*ROWS))
    whole = gzip.compress(b"".join(b'{"unit_id_hash": "%d"}\n' % i for i in range(10000)))
    (tmp_path / "torn.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    found, report = counted([tmp_path / "good.ndjson", tmp_path / "torn.ndjson.gz"])
    assert found == COUNTED
    assert [part.lines for part in report.unreadable] == [None]
    assert "torn.ndjson.gz" in str(report.unreadable[0])


@pytest.mark.parametrize("ending", ["ndjson", "csv"])
def test_an_empty_file_holds_no_records(ending, tmp_path):
    if ending == "ndjson":
        write_ndjson(tmp_path / "log.ndjson", log(*ROWS))
    else:
        texts(log(*ROWS)).to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / f"empty.{ending}").touch()
    found, report = counted(tmp_path / f"*.{ending}")
    assert found == COUNTED
    assert report.unreadable == ()


def test_a_csv_wrapped_in_quotes_is_read_as_if_it_were_not(tmp_path):
    path = tmp_path / "log.csv"
    texts(log(*ROWS)).to_csv(path, index=False)
    path.write_text("".join(f'"{line}"\r\n' for line in path.read_text().splitlines()) + '"2026-03-01,check"')
    found, report = counted(path)
    assert found == COUNTED
    assert report.unreadable[0].why == "1 line cannot be read: line 6"


def test_a_csv_field_may_hold_delimiter_quote_and_line_break(tmp_path):
    audit = flag(key='a,"b"\nc')
    texts(log(*ROWS).assign(flag_key=audit.key)).to_csv(tmp_path / "log.csv", index=False)
    assert counted(tmp_path / "log.csv", audit)[0] == COUNTED


def test_only_the_files_of_the_window_are_listed(tmp_path):
    for day in ("2026-03-01", "2026-03-02", "2026-03-20"):
        (tmp_path / day).mkdir()
    log(*ROWS).to_parquet(tmp_path / "2026-03-01" / "a.parquet")
    log(LATE).to_parquet(tmp_path / "2026-03-02" / "a.parquet")
    (tmp_path / "2026-03-20" / "a.parquet").write_text("outside the window, or it would be named")
    found, report = counted(ParquetRecords(path=tmp_path / "%Y-%m-%d" / "*.parquet"))
    assert found == COUNTED
    assert report.unreadable == ()


def test_a_window_without_bounds_lists_every_file_at_once(tmp_path, monkeypatch):
    (tmp_path / "2026-03-01").mkdir()
    log(*ROWS).to_parquet(tmp_path / "2026-03-01" / "01.parquet")
    listed, real = [], glob.glob
    monkeypatch.setattr("glob.glob", lambda path, **how: listed.append(path) or real(path, **how))
    table = variant_bins(ParquetRecords(path=tmp_path / "%Y-%m-%d" / "%H.parquet"), flag="checkout", now=NOW)
    assert table["new_units"].sum() == 3
    assert set(listed) == {f"{tmp_path}/*-*-*/*.parquet"}


def test_hidden_and_temporary_files_are_not_records(tmp_path):
    log(*ROWS).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "_temporary.parquet").write_text("being written")
    (tmp_path / ".a.parquet.crc").write_text("checksum")
    assert counted(tmp_path / "*")[1].unreadable == ()


def test_a_list_of_paths_is_one_log(tmp_path):
    log(*ROWS[:2]).to_parquet(tmp_path / "a.parquet")
    log(*ROWS[2:]).to_parquet(tmp_path / "b.parquet")
    assert counted([tmp_path / "a.parquet", tmp_path / "b.parquet"])[0] == COUNTED


def test_a_database_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordsError, match="does not exist"):
        counted(TableRecords(table="t", database=tmp_path / "no.duckdb"))
    assert not (tmp_path / "no.duckdb").exists()


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(RecordsError, match="evaluationz cannot be read"):
        counted(TableRecords(table="evaluationz"))


def test_mixed_python_objects_are_read_as_their_text_5_and_5_0_as_one():
    frame = log((1, "a", True), (1, 5, "true"), (1, 5.0, True), LATE).astype({"variant_key": object})
    audit = flag(split={"true": 1.0})
    assert counted(frame, audit)[0] == {(1, "true"): (2, 2, 3)}


def test_a_path_is_read_by_its_ending():
    assert isinstance(as_records("logs/*.jsonl.gz"), FileRecords)
    assert isinstance(as_records("s3://bucket/logs/*.parquet"), ParquetRecords)
    assert isinstance(as_records("logs/%Y/%m"), ParquetRecords)


def test_what_is_no_log_is_refused_with_what_would_be():
    with pytest.raises(RecordsError, match=r"builtins.int is not a log of evaluations; give a DataFrame"):
        as_records(5)


def test_a_source_is_checked_when_it_is_written_down():
    with pytest.raises(ConfigError, match="is no time zone"):
        ParquetRecords(path="x", time_zone="Germany/Berlin")
    with pytest.raises(ConfigError, match="flag_key: given in columns and in constants"):
        ParquetRecords(path="x", columns={"flag_key": "f"}, constants={"flag_key": "f"})
    with pytest.raises(ConfigError, match="give format="):
        FileRecords(path="logs/*")
    with pytest.raises(ConfigError, match="constants cannot replace timestamp"):
        ParquetRecords(path="x", constants={"timestamp": 5})


def test_nothing_is_opened_until_it_is_used():
    assert ParquetRecords(path="/nowhere/*.parquet").label == "/nowhere/*.parquet"
    assert TableRecords(table="t", database="/nowhere.duckdb", name="evaluations").label == "evaluations"


@pytest.mark.parametrize("kind", ["int64", "float64", "string", "Int32"])
def test_a_unit_is_the_same_whatever_type_its_column_has(kind, tmp_path):
    """A log whose ids change from numbers to text goes on with the same units."""
    store = fresh()
    first = log((1, 7, "control"), LATE).replace({"unit_id_hash": {"end": 8}})
    update(store, first.astype({"unit_id_hash": "int64"}))
    rest = log((1, 7, "control"), (3, 7, "control"), (31, 8, "control"))
    update(store, rest.astype({"unit_id_hash": kind}), hours=(2, 31), lookback=0 * HOUR)
    assert cells(store.read(flag()))[3, "control"] == (0, 1, 1)


def test_a_flag_of_a_windowless_log_counts_from_its_start():
    audit = FlagAudit(key="checkout", start=START)
    store = fresh()
    update(store, log(*ROWS), audit, hours=(0, 48), now=NOW)
    assert store.read(audit).variants == ("control", "treatment")


def test_pandas_categories_and_nanoseconds_are_read():
    frame = log(*ROWS).astype({"variant_key": "category", "timestamp": "datetime64[ns, UTC]"})
    assert counted(frame)[0] == COUNTED
    assert (
        counted(frame.assign(timestamp=pd.DatetimeIndex(frame["timestamp"]).tz_localize(None)))[0] == COUNTED
    )


@pytest.mark.parametrize("kind", ["struct", "json", "ndjson"])
def test_an_attribute_of_an_object_column_can_be_filtered_by(kind, tmp_path):
    attributes = [{"country": "de"}, {"country": "us"}, {"country": "de"}]
    frame = log((1, "a", "control"), (1, "b", "control"), LATE)
    path = tmp_path / ("log.ndjson" if kind == "ndjson" else "log.parquet")
    if kind == "ndjson":
        write_ndjson(path, frame.assign(context_attributes=attributes))
    elif kind == "json":
        frame.assign(context_attributes=[json.dumps(value) for value in attributes]).to_parquet(path)
    else:
        frame.assign(context_attributes=attributes).to_parquet(path)
    audit = flag(exclude={"context_attributes.country": ["us"]})
    assert counted(path, audit)[0] == {(1, "control"): (1, 1, 1)}
