"""Logs as other writers make them: each is read right, or refused with the fix.

What cannot be installed beside the pinned versions (pandas 1.5 and 2, warehouses) is represented by the types
and texts that it writes, made here with pyarrow or by hand.
"""

import json
from datetime import datetime, timezone
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exd_dagster as exd
from exd_dagster.errors import RecordsError

NINE = datetime(2026, 3, 1, 9, tzinfo=timezone.utc)
STAMPS = pd.date_range(NINE, periods=6, freq="20min")  # 09:00 to 10:40
ROWS = {"flag_key": ["f"] * 6, "variant_key": ["a", "b"] * 3, "unit_id_hash": [f"u{i}" for i in range(6)]}


def assert_counted(source: object, **options: object) -> None:
    """Three units at nine and three at ten."""
    bins = exd.variant_bins(source, flag="f", **options)
    by_hour = bins.groupby("hour")["new_units"].sum()
    assert [(str(hour)[:13], int(units)) for hour, units in by_hour.items()] == [
        ("2026-03-01 09", 3),
        ("2026-03-01 10", 3),
    ]


ARROW_TIMES = {
    **{
        f"timestamp[{unit}, {zone}]": (pa.timestamp(unit, zone), {})
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "+05:30")
    },
    "INT96 of Spark, Hive and Impala": (pa.timestamp("ns"), {"use_deprecated_int96_timestamps": True}),
    "timestamp[ns] as milliseconds, of pandas 1.5 and Parquet 1.0": (
        pa.timestamp("ns"),
        {"coerce_timestamps": "ms", "allow_truncated_timestamps": True, "version": "1.0"},
    ),
    "timestamp[ns] as microseconds, of Parquet 2.4": (
        pa.timestamp("ns"),
        {"coerce_timestamps": "us", "allow_truncated_timestamps": True, "version": "2.4"},
    ),
}


@pytest.mark.parametrize("writer", ARROW_TIMES)
def test_parquet_timestamp_is_read_whatever_its_unit_and_zone(writer, tmp_path):
    kind, options = ARROW_TIMES[writer]
    stamps = STAMPS.tz_convert(kind.tz) if kind.tz else STAMPS.tz_localize(None)
    table = pa.table({"timestamp": pa.array(stamps, type=kind), **ROWS})
    pq.write_table(table, tmp_path / "log.parquet", **options)
    assert_counted(tmp_path / "log.parquet")


@pytest.mark.parametrize("first", ["us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_files_whose_units_of_time_differ_count_together(first, zone, tmp_path):
    for file, unit in enumerate((first, "ns", "ms", "s")):
        stamps = STAMPS if zone else STAMPS.tz_localize(None)
        rows = {**ROWS, "unit_id_hash": [f"{file}-{unit}" for unit in ROWS["unit_id_hash"]]}
        table = pa.table({"timestamp": pa.array(stamps, type=pa.timestamp(unit, zone)), **rows})
        pq.write_table(table, tmp_path / f"{file}.parquet")
    assert exd.variant_bins(str(tmp_path / "*.parquet"), flag="f")["new_units"].sum() == 24


def test_nanoseconds_of_ingested_at_alone_stop_nothing(tmp_path):
    frame = pd.DataFrame({"timestamp": STAMPS.as_unit("us"), "ingested_at": STAMPS.as_unit("ns"), **ROWS})
    frame.to_parquet(tmp_path / "log.parquet")
    assert_counted(tmp_path / "log.parquet")


EPOCH = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}


@pytest.mark.parametrize("kind", [int, float, str, Decimal])
@pytest.mark.parametrize("unit", EPOCH)
def test_numbers_since_1970_are_reported_apart_by_size(unit, kind, tmp_path):
    since = [kind(int(stamp.timestamp()) * EPOCH[unit]) for stamp in STAMPS]
    pq.write_table(pa.table({"timestamp": since, **ROWS}), tmp_path / "log.parquet")
    assert_counted(tmp_path / "log.parquet")


def _of(form: str, zone: str = "UTC") -> list[str]:
    return [stamp.strftime(form) for stamp in STAMPS.tz_convert(zone)]


TEXTS = {
    "Go: time.RFC3339Nano": _of("%Y-%m-%dT%H:%M:%S.123456789Z"),
    "Go: Time.String": _of("%Y-%m-%d %H:%M:%S.123456789 +0000 UTC"),
    "Go: Time.String of a local time with its monotonic clock": _of(
        "%Y-%m-%d %H:%M:%S.5 +0100 CET m=+0.000012", "Europe/Berlin"
    ),
    "Go: time.RFC1123Z": _of("%a, %d %b %Y %H:%M:%S +0000"),
    "Java: Instant.toString": _of("%Y-%m-%dT%H:%M:%S.001Z"),
    "Java: ZonedDateTime.toString": _of("%Y-%m-%dT%H:%M+01:00[Europe/Berlin]", "Europe/Berlin"),
    "Java: OffsetDateTime.toString": _of("%Y-%m-%dT%H:%M:%S.5+01:00", "Europe/Berlin"),
    "Java: Date.toString": _of("%a %b %d %H:%M:%S UTC %Y"),
    "Java: DateFormat.MEDIUM": _of("%b %d, %Y %I:%M:%S %p"),
    "Java: log4j": _of("%Y-%m-%d %H:%M:%S,123"),
    "JavaScript: toISOString": _of("%Y-%m-%dT%H:%M:%S.000Z"),
    "JavaScript: toString": _of(
        "%a %b %d %Y %H:%M:%S GMT+0100 (Central European Standard Time)", "Europe/Berlin"
    ),
    "JavaScript: toUTCString, RFC 1123": _of("%a, %d %b %Y %H:%M:%S GMT"),
    "Python: isoformat": _of("%Y-%m-%dT%H:%M:%S+00:00"),
    "Python: str": _of("%Y-%m-%d %H:%M:%S.000001+00:00"),
    "Python: logging": _of("%Y-%m-%d %H:%M:%S,001"),
    "Python: asctime": _of("%a %b %d %H:%M:%S %Y"),
    "Snowflake: TIMESTAMP_TZ": _of("%Y-%m-%d %H:%M:%S.000 -0800", "Etc/GMT+8"),
    "Snowflake: TIMESTAMP_LTZ": _of("%Y-%m-%d %H:%M:%S.000 Z"),
    "BigQuery": _of("%Y-%m-%d %H:%M:%S.123456 UTC"),
    "Athena and Trino": _of("%Y-%m-%d %H:%M:%S.000 Europe/Berlin", "Europe/Berlin"),
    "ClickHouse: DateTime64": _of("%Y-%m-%d %H:%M:%S.123"),
    "psql: timestamptz": _of("%Y-%m-%d %H:%M:%S+00"),
    "R: write.csv": _of("%Y-%m-%d %H:%M:%S"),
    "Excel, ISO": _of("%Y-%m-%d %H:%M"),
    "RFC 2822 with an American zone": _of("%a, %d %b %Y %H:%M:%S PST", "Etc/GMT+8"),
    "Apache and nginx": _of("%d/%b/%Y:%H:%M:%S +0000"),
    "ISO 8601, basic": _of("%Y%m%dT%H%M%SZ"),
    "fourteen digits": _of("%Y%m%d%H%M%S"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("writer", TEXTS)
def test_text_is_read_as_its_writer_meant_it(writer, form, tmp_path):
    frame = pd.DataFrame({"timestamp": TEXTS[writer], **ROWS})
    path = tmp_path / f"log.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "ndjson":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert_counted(path)


REFUSED = {
    "Excel, American": (_of("%m/%d/%Y %H:%M"), "99/99/9999 99:99"),
    "Excel, British": (_of("%d/%m/%Y %H:%M"), "99/99/9999 99:99"),
    "Excel, German": (_of("%d.%m.%Y %H:%M"), "99.99.9999 99:99"),
    "a zone that several countries call so": (_of("%Y-%m-%d %H:%M:%S IST"), "9999-99-99 99:99:99 aaa"),
    "a time without its day": (_of("%H:%M:%S"), "99:99:99"),
    "a zone before the year": (_of("%a %b %d %H:%M:%S CET %Y"), "aaa aaa 99 99:99:99 aaa 9999"),
    "names": (["yesterday"] * 6, "aaaaaaaaa"),
}


@pytest.mark.parametrize("writer", REFUSED)
def test_text_that_can_mean_two_instants_is_refused_with_the_fix(writer, tmp_path):
    texts, form = REFUSED[writer]
    pd.DataFrame({"timestamp": texts, **ROWS}).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(RecordsError, match="time_format=") as raised:
        exd.variant_bins(tmp_path / "log.csv", flag="f")
    assert f"'{form}'" in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "zone", "options"),
    [
        ("%d/%m/%Y %H:%M", "UTC", {}),
        ("%m/%d/%y %I:%M:%S %p", "UTC", {}),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", {"time_zone": "Europe/Berlin"}),
        ("%d/%m/%Y %H:%M:%S %z", "Europe/Berlin", {}),
    ],
)
def test_a_form_that_is_named_is_read(pattern, zone, options, tmp_path):
    pd.DataFrame({"timestamp": _of(pattern, zone), **ROWS}).to_csv(tmp_path / "log.csv", index=False)
    assert_counted(exd.FileRecords(path=tmp_path / "log.csv", time_format=pattern, **options))


FRAMES = {
    **{f"datetime64[{unit}]": STAMPS.tz_localize(None).as_unit(unit) for unit in ("s", "ms", "us", "ns")},
    **{f"datetime64[{unit}, Europe/Berlin]": STAMPS.tz_convert("Europe/Berlin").as_unit(unit)
       for unit in ("s", "ms", "us", "ns")},
    "objects: datetime": pd.Series([stamp.to_pydatetime() for stamp in STAMPS], dtype=object),
    "objects: pd.Timestamp": pd.Series(list(STAMPS), dtype=object),
    "objects: text": pd.Series([str(stamp) for stamp in STAMPS], dtype=object),
    "string": pd.Series([stamp.isoformat() for stamp in STAMPS], dtype="string"),
    "category": pd.Series([stamp.isoformat() for stamp in STAMPS], dtype="category"),
    "Int64": pd.Series([int(stamp.timestamp()) for stamp in STAMPS], dtype="Int64"),
    "timestamp[ns][pyarrow]": pd.Series(STAMPS.tz_localize(None)).astype("timestamp[ns][pyarrow]"),
    "timestamp[us, tz=UTC][pyarrow]": pd.Series(STAMPS).astype("timestamp[us, tz=UTC][pyarrow]"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FRAMES)
def test_dataframe_column_is_read_whatever_its_dtype(dtype):
    assert_counted(pd.DataFrame({"timestamp": pd.Series(FRAMES[dtype]).array, **ROWS}))


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        (pd.period_range("2026-03-01 09:00", periods=6, freq="h"), r"dt\.to_timestamp\(\)"),
        (pd.to_timedelta(range(6), unit="h"), "no instant"),
        (pd.interval_range(0, 6), "single values"),
        ([complex(1)] * 6, "single values"),
    ],
    ids=["period", "timedelta", "interval", "complex"],
)
def test_dataframe_column_that_holds_no_instant_is_refused_with_the_fix(values, fix):
    with pytest.raises(RecordsError, match=fix):
        exd.variant_bins(pd.DataFrame({"timestamp": values, **ROWS}), flag="f")


def test_dataframe_without_columns_is_refused():
    with pytest.raises(RecordsError, match="has no columns"):
        exd.variant_bins(pd.DataFrame(), flag="f")


def test_arrow_table_counts_as_it_is():
    assert_counted(pa.table({"timestamp": pa.array(STAMPS), **ROWS}))


def test_polars_frame_counts_as_it_is():
    polars = pytest.importorskip("polars")
    assert_counted(polars.DataFrame({"timestamp": list(STAMPS.tz_localize(None)), **ROWS}))


NAMES = {
    "integer": (pa.array([1, 2, 1, 2, 1, 2]), ["1", "2"]),
    "float": (pa.array([1.0, 2.0] * 3), ["1", "2"]),
    "decimal": (pa.array([Decimal("1.00"), Decimal("2.50")] * 3), ["1", "2.50"]),
    "boolean": (pa.array([True, False] * 3), ["false", "true"]),
    "dictionary": (pa.array(["a", "b"] * 3).dictionary_encode(), ["a", "b"]),
    "large string": (pa.array(["a", "b"] * 3, type=pa.large_string()), ["a", "b"]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_variant_of_any_type_has_one_name(kind, tmp_path):
    values, names = NAMES[kind]
    table = pa.table({**ROWS, "timestamp": pa.array(STAMPS), "variant_key": values})
    pq.write_table(table, tmp_path / "log.parquet")
    for source in (tmp_path / "log.parquet", table.to_pandas(), table):
        assert sorted(set(exd.variant_bins(source, flag="f")["variant"])) == names


def test_booleans_of_json_are_named_as_those_of_parquet(tmp_path):
    rows = [{name: values[i] for name, values in ROWS.items()} for i in range(6)]
    lines = [
        json.dumps({**row, "timestamp": str(STAMPS[i]), "variant_key": i % 2 == 0})
        for i, row in enumerate(rows)
    ]
    (tmp_path / "log.ndjson").write_text("\n".join(lines))
    assert set(exd.variant_bins(tmp_path / "log.ndjson", flag="f")["variant"]) == {"true", "false"}


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson", "frame", "several files"])
def test_of_columns_that_differ_in_case_only_the_one_spelled_so_is_read(form, tmp_path):
    frame = pd.DataFrame(
        {**ROWS, "timestamp": STAMPS, "Unit_ID_hash": ["same"] * 6, "VARIANT_KEY": ["z"] * 6}
    )
    frame = frame[["Unit_ID_hash", "VARIANT_KEY", *ROWS, "timestamp"]]
    path = tmp_path / f"log.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "csv":
        frame.to_csv(path, index=False)
    elif form == "ndjson":
        frame.to_json(path, orient="records", lines=True, date_format="iso")
    elif form == "several files":
        frame[:3].to_parquet(tmp_path / "1.parquet")
        frame[3:].assign(more=1).to_parquet(tmp_path / "2.parquet")
        path = tmp_path / "*.parquet"
    source = frame if form == "frame" else str(path)
    assert_counted(source)
    assert set(exd.variant_bins(source, flag="f")["variant"]) == {"a", "b"}


def test_columns_that_differ_in_case_only_and_none_spelled_so_are_refused(tmp_path):
    frame = pd.DataFrame({"timestamp": STAMPS, **ROWS}).rename(columns={"variant_key": "Variant_Key"})
    frame.assign(VARIANT_KEY="z").to_parquet(tmp_path / "log.parquet")
    with pytest.raises(RecordsError, match="Variant_Key, VARIANT_KEY"):
        exd.variant_bins(tmp_path / "log.parquet", flag="f")


def test_column_that_stands_twice_in_a_csv_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("timestamp,flag_key,variant_key,unit_id_hash,unit_id_hash\n")
    with pytest.raises(RecordsError, match="'unit_id_hash' is twice"):
        exd.variant_bins(tmp_path / "log.csv", flag="f")
