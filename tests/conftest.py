"""What many tests share."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource
from hypothesis import settings

settings.register_profile("exd", deadline=None)  # a busy machine is no fault
settings.load_profile("exd")
settings.register_profile("deep", deadline=None, max_examples=6000)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def store(tmp_path: Path) -> DuckDBResource:
    """The DuckDB file that keeps the bins."""
    return DuckDBResource(database=str(tmp_path / "bins.duckdb"))
