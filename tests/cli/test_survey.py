"""A first look at a log: columns told by their names, flags with the splits seen."""

from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pandas as pd

from exd_dagster.cli.survey import hourly_units, survey
from exd_dagster.telemetry.sources.duckdb import ParquetRecords
from tests.logs import rows, write

SPAN = (datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2030, 1, 1, tzinfo=timezone.utc))


def test_flags_are_listed_with_their_units_the_largest_first(tmp_path: Path):
    glob = write(
        tmp_path,
        rows("small", [{"a": 2, "b": 1}]),
        rows("large", [{"a": 10, "b": 30}] * 2),
        rows("large", [{"a": 1}], environment="staging"),
    )
    with duckdb.connect() as connection:
        found = survey(connection, ParquetRecords(path=glob), *SPAN)
    assert [(flag.environment, flag.key, flag.units) for flag in found] == [
        ("production", "large", {"b": 60, "a": 20}),
        ("production", "small", {"a": 2, "b": 1}),
        ("staging", "large", {"a": 1}),
    ]
    assert found[0].shares == {"b": 0.75, "a": 0.25}


def test_rows_without_flag_variant_or_unit_are_no_flag(tmp_path):
    frame = rows("checkout", [{"a": 3}])
    holes = pd.concat([frame, frame.assign(flag_key=None), frame.assign(variant_key=None)])
    with duckdb.connect() as connection:
        (found,) = survey(connection, ParquetRecords(path=write(tmp_path, holes)), *SPAN)
    assert found.units == {"a": 3}


def test_evaluations_that_assigned_nothing_are_left_out(tmp_path):
    frame = rows("checkout", [{"a": 3, "b": 3}])
    off = rows("checkout", [{"a": 9}]).assign(evaluation_reason="off")
    with duckdb.connect() as connection:
        (found,) = survey(connection, ParquetRecords(path=write(tmp_path, frame, off)), *SPAN)
    assert found.units == {"a": 3, "b": 3}


def test_units_are_counted_in_the_hour_of_their_first_exposure(tmp_path):
    frame = rows("checkout", [{"a": 3, "b": 2}, {}, {"a": 1}])
    again = frame.assign(timestamp=frame["timestamp"] + pd.Timedelta(hours=5))
    with duckdb.connect() as connection:
        records = ParquetRecords(path=write(tmp_path, frame, again, rows("other", [{"a": 9}])))
        found = next(flag for flag in survey(connection, records, *SPAN) if flag.key == "checkout")
        start, names, counts = hourly_units(connection, records, found, *SPAN)
    assert (start, names) == (datetime(2026, 3, 1, tzinfo=timezone.utc), ["a", "b"])
    assert counts.tolist() == [[3, 2], [0, 0], [1, 0]]


def test_a_flag_whose_records_name_no_unit_is_listed_with_none(tmp_path):
    frame = rows("checkout", [{"a": 3}]).assign(unit_id_hash=None)
    frame["unit_id_hash"] = frame["unit_id_hash"].astype("string")
    with duckdb.connect() as connection:
        found = survey(connection, ParquetRecords(path=write(tmp_path, frame)), *SPAN)
    assert [(flag.key, flag.total) for flag in found] == [("checkout", 0)]
