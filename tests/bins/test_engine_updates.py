"""Late, missing and differently spelt records: the same bins of files, Ibis on DuckDB, and PostgreSQL."""

from datetime import timedelta

import pandas as pd
import pytest

from tests.bins.conftest import HOUR, START, cells, facts, flag, log, update
from tests.bins.engine_log import COLUMNS

PLACES = ["files", "engine", pytest.param("postgres", marks=pytest.mark.engines)]
NOW = START + timedelta(days=30)


def steady(days, per_hour=40):
    """Return a log of so many days, the same units every hour."""
    rows = [
        (hour + unit / per_hour, f"u{hour}-{unit}", ("control", "treatment")[unit % 2])
        for hour in range(24 * days)
        for unit in range(per_hour)
    ]
    return log(*rows)


@pytest.mark.parametrize("place", PLACES)
def test_rows_that_come_after_more_than_48_hours_are_counted(store, records_of, place):
    table = steady(6, per_hour=2)
    early = table[~table["unit_id_hash"].str.startswith("u5-")]
    for day in range(5):
        update(store, records_of(place, early), hours=(24 * day, 24 * day + 24), now=NOW)
    before = cells(store.read(flag()))
    update(store, records_of(place, table), hours=(120, 144), now=NOW)
    after = cells(store.read(flag()))
    assert (5, "control") not in before
    assert after[5, "control"] == after[6, "control"] == (1, 1, 1)
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("place", PLACES)
def test_rows_that_were_ingested_late_are_reported(store, records_of, place):
    table = steady(1, per_hour=2)
    at = table["timestamp"] + timedelta(seconds=5)
    table["ingested_at"] = at.where(table.index != 9, at + timedelta(hours=90))
    update(store, records_of(place, table), now=NOW)
    assert facts(store.read(flag())) == {(4, "late_rows", ""): 1}


@pytest.mark.parametrize("place", PLACES)
def test_hours_that_were_not_delivered_are_not_checked(store, records_of, place):
    table = pd.concat([steady(14), steady(14).assign(flag_key="search")])
    hour = (table["timestamp"] - START) // HOUR
    lost = hour.between(330, 333)
    table = table[~lost | (table["unit_id_hash"].str.endswith("-7"))]
    report = update(store, records_of(place, table), hours=(0, 24 * 14), now=NOW)
    missing = {START + hour * HOUR for hour in range(330, 334)}
    assert {*report.undelivered} == missing
    bins = store.read(flag())
    assert {at for at, delivered in zip(bins.hours, bins.delivered, strict=True) if not delivered} == missing


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spell", [str.upper, str.title])
def test_columns_in_other_capitals_are_read(store, records_of, place, spell):
    table = steady(1, per_hour=2).assign(environment="production", country="DE")
    declared = flag(environment="production", include={"country": ["DE"]}, dimensions=("country",))
    kinds = {spell(name): kind for name, kind in COLUMNS.items()}
    update(store, records_of(place, table.rename(columns=spell), kinds), declared, now=NOW)
    bins = store.read(declared)
    assert len(cells(bins)) == 44
    assert bins.unmatched == ()


@pytest.mark.parametrize("place", ["files", PLACES[-1]])
def test_of_columns_that_differ_in_capitals_only_the_one_spelt_so_is_read(store, records_of, place):
    """DuckDB, and so the stand-in, has no table with both."""
    table = steady(1, per_hour=2).assign(country="DE", Country="FR")
    declared = flag(include={"country": ["DE"]})
    update(store, records_of(place, table, {**COLUMNS, "Country": "string"}), declared, now=NOW)
    assert cells(store.read(declared))
