"""The table `exd_carried`: what the checks of a flag leave for the next night."""

import duckdb
import numpy as np
import pytest

from exd_dagster.audit.carried_table import read_carried, write_carried
from exd_dagster.audit.flag import audit
from exd_dagster.audit.trust_table import write_trust
from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.stats.carried import Carried
from tests.stats.build import bins_of, flag, hours, seasonal_units

DAYS = 16


@pytest.fixture
def bins() -> FlagBins:
    return bins_of(np.stack([seasonal_units(seed, DAYS, 50) for seed in (1, 2)], axis=1))


def night(connection: duckdb.DuckDBPyConnection, audited: FlagAudit, bins: FlagBins, days: int) -> Carried:
    """Audit a flag as its checks do, and return what it went on from."""
    tonight, carried = bins.between(bins.start, hours(24 * days)), read_carried(connection, audited.id)
    done = audit(audited, tonight, Thresholds(), now=hours(24 * days), carried=carried)
    write_trust(connection, done.trust_entry("run"), carried)
    return carried


def test_a_night_goes_on_from_the_one_before(bins):
    with duckdb.connect() as connection:
        assert not night(connection, flag(), bins, DAYS - 1).known
        assert "sequential_srm" in night(connection, flag(), bins, DAYS).used


def test_states_of_another_flag_are_not_read(bins):
    with duckdb.connect() as connection:
        night(connection, flag(), bins, DAYS)
        assert not read_carried(connection, flag(key="other").id).known


def test_a_state_is_read_as_it_was_written(bins):
    with duckdb.connect() as connection:
        saved = night(connection, flag(), bins, DAYS).saved
        found = read_carried(connection, flag().id).known
    assert found.keys() == saved.keys()
    assert all(np.array_equal(found[name].values, saved[name].values, equal_nan=True) for name in saved)


def test_a_state_of_no_use_is_dropped_with_the_next_that_is_saved(bins):
    with duckdb.connect() as connection:
        night(connection, flag(), bins, DAYS - 1)
        connection.execute(
            "UPDATE exd_carried SET name = 'segment_srm browser = Gone' WHERE name = 'sequential_srm'"
        )
        night(connection, flag(), bins, DAYS)
        assert "segment_srm browser = Gone" not in read_carried(connection, flag().id).known


def test_where_nothing_was_saved_nothing_is_written():
    with duckdb.connect() as connection:
        write_carried(connection, flag().id, Carried())
        assert not read_carried(connection, flag().id).known
        assert not connection.execute("SELECT 1 FROM duckdb_tables()").fetchall()
