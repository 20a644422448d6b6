"""A small log that tests write as they like, and a store in memory."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import duckdb
import pandas as pd
import pytest

from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit, Timing

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 3, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SPLIT = {"control": 0.5, "treatment": 0.5}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.fixture
def store(connection: duckdb.DuckDBPyConnection) -> BinStore:
    return BinStore(connection)


def flag(key="checkout", **changes):
    return FlagAudit(**{"key": key, "split": SPLIT, "start": START, **changes})


def log(*rows, **columns):
    """Return a log: each row is (hours after START, unit, variant), more columns are one value or a list."""
    table = {
        "timestamp": [START + HOUR * row[0] for row in rows],
        "flag_key": ["checkout"] * len(rows),
        "variant_key": [row[2] for row in rows],
        "unit_id_hash": [row[1] for row in rows],
    }
    for name, value in columns.items():
        table[name] = value if isinstance(value, list) else [value] * len(rows)
    return pd.DataFrame(table)


def update(store, source, *flags, hours=(0, 48), now=NOW, **timing):
    """Bring the bins of these flags (or of `flag()`) up to date with hours `[first, last)` after START."""
    start, end = START + hours[0] * HOUR, START + hours[1] * HOUR
    return store.update(source, flags or [flag()], start, end, timing=Timing(**timing), now=now)


def cells(bins):
    """Return {(hours after START, variant): (new_units, units, evaluations)} without empty cells."""
    return {
        ((hour - START) // HOUR, variant): (
            int(bins.new_units[i, j]),
            int(bins.units[i, j]),
            int(bins.evaluations[i, j]),
        )
        for i, hour in enumerate(bins.hours)
        for j, variant in enumerate(bins.variants)
        if bins.units[i, j] or bins.new_units[i, j]
    }


def facts(bins):
    """Return {(hours after START, name, detail): count}."""
    return {((fact.hour - START) // HOUR, fact.name, fact.detail): fact.count for fact in bins.facts}
