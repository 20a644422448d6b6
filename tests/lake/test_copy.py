"""A store is copied from a file to a lake and back, and goes on there without counting again."""

from contextlib import closing

import pytest
from click.testing import CliRunner

from exd_dagster.audit.trust_table import read_trust, write_trust
from exd_dagster.bins.places import place_at
from exd_dagster.bins.store.store import BinStore
from exd_dagster.cli import main
from tests.bins.conftest import cells, flag, log, update
from tests.faults.test_bins_killed import AFTER, BEFORE, FIRST, SECOND
from tests.lake.test_sharing import entry

pytestmark = pytest.mark.lake


def copied(*values: str) -> str:
    result = CliRunner().invoke(main, ["store", "copy", *values])
    return result.output


def test_a_store_goes_from_file_to_lake_and_back_and_goes_on(make_lake, tmp_path):
    lake = make_lake("postgres")
    first, last = str(tmp_path / "first.duckdb"), str(tmp_path / "last.duckdb")
    with closing(place_at(first).connect()) as connection:
        update(BinStore(connection), log(*FIRST))
        write_trust(connection, entry("checkout"))
    there = f"ducklake:{lake.catalog}"
    assert "has what" in copied(first, there, "--data-path", lake.data_path)
    assert "has a bin store already" in copied(first, there, "--data-path", lake.data_path)
    with closing(place_at(there).connect()) as connection:
        store = BinStore(connection)
        assert cells(store.read(flag())) == BEFORE
        again = update(store, log(*FIRST))
        assert again.flags[flag().id].hours_changed == ()
        update(store, log(*SECOND))
    assert "has what" in copied(there, last)
    with closing(place_at(last).connect()) as connection:
        assert cells(BinStore(connection).read(flag())) == AFTER
        assert [each.row.flag.key for each in read_trust(connection)] == ["checkout"]
        assert connection.execute("SELECT count(*) FROM flag_bins").fetchone() != (0,)
