"""A lake with each kind of catalog holds what a file holds."""

from contextlib import closing

import pytest

from exd_dagster.bins.places.lake import LakePlace
from exd_dagster.bins.store.store import BinStore, open_store
from exd_dagster.errors import StoreError
from tests.bins.conftest import cells, flag, log, update
from tests.faults.test_bins_killed import AFTER, BEFORE, FIRST, SECOND
from tests.lake.conftest import start

pytestmark = pytest.mark.lake


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_a_lake_counts_as_a_file_does(make_lake, kind):
    place = make_lake(kind)
    for records, counted in ((FIRST, BEFORE), (SECOND, AFTER), (FIRST, BEFORE)):
        with closing(place.connect()) as connection:
            update(BinStore(connection), log(*records))
        with open_store(f"ducklake:{place.catalog}") as store:
            assert cells(store.read(flag())) == counted


def test_two_schemas_of_a_lake_are_two_stores(make_lake):
    place = make_lake("postgres")
    other = LakePlace(place.catalog, place.data_path, "other")
    for each, records in ((place, FIRST), (other, SECOND)):
        with closing(each.connect()) as connection:
            update(BinStore(connection), log(*records))
    for each, counted in ((place, BEFORE), (other, AFTER)):
        with closing(each.connect()) as connection:
            assert cells(BinStore(connection).read(flag())) == counted


def test_a_reader_takes_what_is_committed_while_another_writes(make_lake):
    place = make_lake("sqlite")
    with closing(place.connect()) as connection, closing(place.connect(read_only=True)) as reader:
        update(BinStore(connection), log(*FIRST))
        connection.execute("BEGIN; UPDATE exd_meta SET updates = 100")
        assert reader.execute("SELECT updates FROM exd_meta").fetchall() == [(1,)]
        connection.execute("COMMIT")
        assert reader.execute("SELECT updates FROM exd_meta").fetchall() == [(100,)]


def test_a_catalog_in_a_duckdb_file_that_another_process_has_is_told(make_lake):
    place = make_lake("duckdb")
    holder = start(
        "import sys; from exd_dagster.bins.places.lake import LakePlace; "
        "c = LakePlace(*sys.argv[1:]).connect(); print(1, flush=True); input()",
        place.catalog,
        place.data_path,
    )
    holder.stdout.readline()
    try:
        with pytest.raises(StoreError, match=r"in use by another process.*PostgreSQL or SQLite"):
            place.connect()
    finally:
        holder.communicate("\n")


def test_a_database_that_is_not_there_is_told_without_its_password():
    place = LakePlace("postgresql://exd:secret@127.0.0.1:9/nowhere", "/tmp/data")
    with pytest.raises(StoreError, match=r"exd:\.\.\.@127.*start its database") as error:
        place.connect()
    assert "secret" not in str(error.value)


def test_another_data_path_than_that_of_the_lake_is_told(make_lake, tmp_path):
    place = make_lake("sqlite")
    place.connect().close()
    with pytest.raises(StoreError, match="give the data_path it was made with, or none"):
        LakePlace(place.catalog, str(tmp_path / "elsewhere")).connect()
