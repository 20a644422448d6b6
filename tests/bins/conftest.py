"""A small log that tests write as they like, and a store in memory."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pandas as pd
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Timing
from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.servers.postgres import Postgres, running

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 3, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SPLIT = {"control": 0.5, "treatment": 0.5}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL server; only tests under the marker `engines` ask for it."""
    with running() as server:
        yield server


@pytest.fixture
def records_of(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function of place, frame and kinds that gives the frame as the log of that place.

    The places are "files", "engine" (Ibis on DuckDB) and "postgres".
    """

    def give(place: str, frame: pd.DataFrame, kinds: dict[str, str] | None = None) -> Any:
        from tests.bins.engine_log import COLUMNS, in_duckdb

        columns = kinds or COLUMNS
        if place == "files":
            return frame
        if place == "engine":
            return in_duckdb(frame, columns)
        server = request.getfixturevalue("postgres_server")
        server.load("log", frame, columns)
        return IbisRecords(connection=server.backend(), table="log")

    return give


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A store in memory; `tests/lake` has those in a lake."""
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
