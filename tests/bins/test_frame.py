"""Bins as a DataFrame, from a notebook."""

import pytest

from exd_dagster.bins.frame import variant_bins
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords
from tests.bins.conftest import HOUR, NOW, START, flag, log

ROWS = [(1.1, "a", "x"), (1.2, "b", "y"), (3.1, "a", "x"), (3.2, "c", "y"), (25, "a", "x"), (25, "d", "y")]


def bins(source=None, **options):
    return variant_bins(
        log(*ROWS) if source is None else source, **{"flag": "checkout", "now": NOW, **options}
    )


def test_hours_run_from_the_first_record_to_the_newest_without_a_gap():
    table = bins()
    assert list(table.columns) == [
        "hour",
        "variant",
        "new_units",
        "units",
        "evaluations",
        "cumulative",
        "ratio",
    ]
    assert table["hour"].iloc[0] == START + HOUR
    assert table["hour"].iloc[-1] == START + 25 * HOUR
    assert len(table) == 25 * 2
    assert str(table["hour"].dt.tz) == "UTC"


def test_cumulative_counts_each_unit_once_and_ratio_is_against_the_first_variant():
    last = bins().tail(2)
    assert last["cumulative"].tolist() == [1, 3]
    assert last["ratio"].tolist() == [1.0, 3.0]


def test_a_day_sums_new_units_and_counts_active_units_once():
    table = bins(freq="D")
    assert table[["variant", "new_units", "units", "evaluations"]].to_numpy().tolist() == [
        ["x", 1, 1, 2],
        ["y", 2, 2, 2],
        ["x", 0, 1, 1],
        ["y", 1, 1, 1],
    ]


def test_start_and_end_bound_what_is_counted():
    table = bins(start=START, end=START + 3 * HOUR)
    assert len(table) == 3 * 2
    assert table["new_units"].sum() == 2


def test_a_declared_flag_brings_its_filters_and_the_order_of_its_variants():
    table = bins(
        flag=flag(split={"y": 0.5, "x": 0.5}, exclude={"country": ["us"]}), source=log(*ROWS, country="de")
    )
    assert table["variant"].iloc[:2].tolist() == ["y", "x"]


def test_the_key_may_be_a_constant_of_the_log():
    source = DataFrameRecords(frame=log(*ROWS).drop(columns="flag_key"), constants={"flag_key": "page"})
    assert variant_bins(source, now=NOW)["new_units"].sum() == 4


def test_a_log_without_a_named_flag_is_refused_with_the_fix():
    with pytest.raises(RecordsError, match="name the flag to count with flag="):
        variant_bins(log(*ROWS), now=NOW)


def test_a_flag_without_records_gives_an_empty_table():
    assert len(bins(flag="unknown")) == 0


def test_a_flag_that_cannot_be_counted_is_an_error():
    with pytest.raises(RecordsError, match="2 environments"):
        bins(source=log(*ROWS, environment=["a", "b", "a", "b", "a", "b"]))
