"""Every preset counts a sample of its export as a recount does, whatever it is written in."""

from datetime import timedelta

import pandas as pd
import pytest

import exd_dagster as exd
from exd_dagster.telemetry.preset import likeliest, presets, read_preset, recognise
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords
from tests.telemetry.presets.samples import EXPORTS, START, sample, write_ndjson

NOW = START + timedelta(days=4)


def counted(records, flag):
    bins = exd.variant_bins(records, flag=flag, start=START, end=START + timedelta(days=3), now=NOW)
    totals = bins.groupby("variant")[["new_units", "evaluations"]].sum()
    totals = totals[totals["evaluations"] > 0]
    return dict(totals["new_units"]), dict(totals["evaluations"])


def test_every_preset_has_a_sample():
    assert sorted(EXPORTS) == presets()


@pytest.mark.parametrize("name", EXPORTS)
def test_counts_of_the_sample_equal_a_recount(name, tmp_path):
    made = sample(name)
    records = exd.FileRecords(path=write_ndjson(made.rows, tmp_path / "log.ndjson"), preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


@pytest.mark.parametrize("name", EXPORTS)
def test_dataframe_of_the_sample_is_counted_the_same(name):
    made = sample(name)
    records = DataFrameRecords(frame=pd.DataFrame(made.rows), preset=name)
    assert counted(records, made.flag) == (made.units, made.evaluations)


@pytest.mark.parametrize("name", EXPORTS)
def test_sample_is_recognised_as_its_export_and_as_no_other(name):
    assert [match.preset for match in likeliest(recognise(sample(name).rows))] == [name]


@pytest.mark.parametrize("name", presets())
def test_preset_says_where_it_was_read(name):
    preset = read_preset(name)
    assert preset.caveats
