"""Two flags of one salt whose store is a lake."""

import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.fleet.collisions import fleet_collisions
from tests.definitions.test_collisions import HOURS, SPLIT, log
from tests.logs import HOUR, START

pytestmark = pytest.mark.lake


def test_they_are_found_in_the_lake(make_lake, tmp_path):
    flags = [FlagAudit(key=key, split=SPLIT, start=START) for key in ("checkout", "search", "pricing")]
    with make_lake("sqlite").connect() as connection:
        store = BinStore(connection)
        store.update(log(tmp_path), flags, START, START + HOURS * HOUR, now=START + 24 * HOUR)
        found = fleet_collisions(store, flags)
    assert [pair.flags for pair in found.collisions] == [("checkout", "search")]
    assert (found.compared, found.apart) == (3, ())
