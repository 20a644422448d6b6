"""A wrong preset, an export that changed, a mix of two: refused before anything is counted."""

from datetime import timedelta

import duckdb
import pandas as pd
import pytest

import exd_dagster as exd
from exd_dagster.bins.store.store import open_store
from exd_dagster.errors import ConfigError, RecordsError
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords
from tests.telemetry.presets.samples import EXPORTS, START, sample, write_ndjson

NOW = START + timedelta(days=4)


def count(records, flag="checkout-redesign"):
    return exd.variant_bins(records, flag=flag, start=START, now=NOW)


@pytest.mark.parametrize("name", sorted(set(EXPORTS) - {"posthog"}))
def test_wrong_preset_says_what_is_missing_and_which_fits(name, tmp_path):
    path = write_ndjson(sample(name, units=40).rows, tmp_path / "log.ndjson")
    with pytest.raises(RecordsError, match=rf"(?s)no row has '(event|properties).*preset='{name}'"):
        count(exd.FileRecords(path=path, preset="posthog"))


def test_wrong_preset_is_told_for_a_dataframe_too():
    frame = pd.DataFrame(sample("eppo", units=40).rows)
    with pytest.raises(RecordsError, match="preset='eppo'"):
        count(DataFrameRecords(frame=frame, preset="unleash"))


def test_export_that_changed_names_the_field_and_the_page_it_was_read_from(tmp_path):
    rows = sample("flagsmith", units=40).rows
    for row in rows:
        row["feature"] = row.pop("feature_name")
    path = write_ndjson(rows, tmp_path / "log.ndjson")
    with pytest.raises(
        RecordsError, match=r"(?s)'feature_name' for flag_key.*docs\.flagsmith\.com.*columns="
    ):
        count(exd.FileRecords(path=path, preset="flagsmith"))


def test_export_that_changed_is_read_with_the_new_field_on_top_of_the_preset(tmp_path):
    made = sample("flagsmith", units=40)
    for row in made.rows:
        row["feature"] = row.pop("feature_name")
    path = write_ndjson(made.rows, tmp_path / "log.ndjson")
    records = exd.FileRecords(path=path, preset="flagsmith", columns={"flag_key": "feature"})
    assert count(records)["new_units"].sum() == sum(made.units.values())


def test_file_in_which_the_field_is_no_longer_written_is_named(tmp_path):
    rows = sample("posthog", units=40).rows
    write_ndjson(rows, tmp_path / "1.ndjson")
    for row in rows:
        row["properties"].pop("$feature_flag_response", None)
    write_ndjson(rows, tmp_path / "2.ndjson")
    with pytest.raises(RecordsError, match=r"2\.ndjson: no row has 'properties\.\$feature_flag_response'"):
        count(exd.FileRecords(path=tmp_path / "*.ndjson", preset="posthog"))


def test_mix_of_two_exports_names_both_and_the_files(tmp_path):
    write_ndjson(sample("posthog", units=40).rows, tmp_path / "a.ndjson")
    write_ndjson(sample("ga4", units=40).rows, tmp_path / "b.ndjson")
    with pytest.raises(RecordsError, match=r"(?s)mix of two exports.*b\.ndjson.*Google Analytics 4"):
        count(exd.FileRecords(path=tmp_path / "*.ndjson", preset="posthog"))


def test_mix_within_one_file_is_told(tmp_path):
    rows = [*sample("posthog", units=40).rows, *sample("ga4", units=40).rows]
    with pytest.raises(RecordsError, match="mix of two exports"):
        count(exd.FileRecords(path=write_ndjson(rows, tmp_path / "a.ndjson"), preset="posthog"))


def test_nothing_is_counted_where_the_preset_is_wrong(tmp_path):
    path = write_ndjson(sample("ga4", units=40).rows, tmp_path / "log.ndjson")
    store = tmp_path / "bins.duckdb"
    flag = exd.FlagAudit(key="checkout-redesign", start=START)
    with open_store(str(store)) as bins, pytest.raises(RecordsError):
        bins.update(exd.FileRecords(path=path, preset="posthog"), [flag], START, NOW, now=NOW)
    with duckdb.connect(str(store)) as connection:
        assert connection.execute("SELECT count(*) FROM exd_bins").fetchall() == [(0,)]


def test_export_without_an_exposure_yet_is_not_refused(tmp_path):
    rows = [row for row in sample("posthog").rows if row["event"] == "$pageview"]
    path = write_ndjson(rows, tmp_path / "log.ndjson")
    assert count(exd.FileRecords(path=path, preset="posthog"))["new_units"].sum() == 0


def test_preset_there_is_none_of_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'posthog'"):
        exd.FileRecords(path="log.ndjson", preset="posthogg")


def test_unit_a_preset_has_not_is_told_with_those_it_has():
    with pytest.raises(ConfigError, match="'visitor' is not one of it"):
        exd.FileRecords(path="log.ndjson", preset="eppo", unit="visitor")


def test_unit_without_a_preset_is_told():
    with pytest.raises(ConfigError, match="give preset too"):
        exd.FileRecords(path="log.ndjson", unit="account")


def test_events_of_another_vendor_inside_the_export_are_no_mix(tmp_path):
    made = sample("posthog", units=40)
    forwarded = [
        {**row, "event": "Experiment Viewed", "properties": {"experiment_id": "x", "variation_id": "a"}}
        for row in made.rows[:20]
    ]
    path = write_ndjson([*made.rows, *forwarded], tmp_path / "log.ndjson")
    assert count(exd.FileRecords(path=path, preset="posthog"))["new_units"].sum() == sum(made.units.values())
