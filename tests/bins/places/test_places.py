"""Where a store may be, as far as no extension of DuckDB is needed."""

from contextlib import closing

import duckdb
import pytest

from exd_dagster.bins.copy import copy_store
from exd_dagster.bins.places import place_at
from exd_dagster.bins.places.lake import LakePlace, without_password
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import StoreError
from exd_dagster.telemetry.extensions import load_extension
from tests.bins.conftest import cells, flag, log, update
from tests.faults.test_bins_killed import BEFORE, FIRST


def test_an_extension_that_is_nowhere_is_told_with_its_package(tmp_path):
    nowhere = {"custom_extension_repository": "http://127.0.0.1:9", "extension_directory": str(tmp_path)}
    said = rf"lacks its extension vss.*install duckdb-extension-vss=={duckdb.__version__}"
    with duckdb.connect(config=nowhere) as connection, pytest.raises(StoreError, match=said):
        load_extension(connection, "vss")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("postgres:dbname=exd password=a-b host=db", "postgres:dbname=exd password=... host=db"),
        ("dbname=exd password='a b'", "dbname=exd password=..."),
        ("postgresql://exd:a@db/exd", "postgresql://exd:...@db/exd"),
        ("md:exd?motherduck_token=abc", "md:exd?motherduck_token=..."),
        ("sqlite:/data/catalog.sqlite", "sqlite:/data/catalog.sqlite"),
    ],
)
def test_no_password_is_told(said, told):
    assert without_password(said) == told


@pytest.mark.parametrize(
    ("data_path", "page"),
    [
        ("s3://bucket/exd/bins/", "s3://bucket/exd/flag_trust.html"),
        ("s3://bucket/", "s3://bucket/flag_trust.html"),
        ("/data/exd", "/data/flag_trust.html"),
    ],
)
def test_the_page_lies_beside_the_data(data_path, page):
    assert LakePlace("postgres:dbname=exd", data_path).page("flag_trust.html") == page


def test_a_store_is_copied_to_another_file_but_never_over_a_store(tmp_path):
    one, other = (place_at(tmp_path / name) for name in ("one.duckdb", "other.duckdb"))
    with closing(one.connect()) as connection:
        update(BinStore(connection), log(*FIRST))
    assert copy_store(one, other)["exd_flags"] == 1
    with closing(other.connect()) as connection:
        assert cells(BinStore(connection).read(flag())) == BEFORE
    with pytest.raises(StoreError, match="has a bin store already; nothing was changed"):
        copy_store(one, other)


@pytest.mark.parametrize("made", [False, True])
def test_a_place_without_a_store_is_not_copied(made, tmp_path):
    one, other = tmp_path / "one.duckdb", tmp_path / "other.duckdb"
    if made:
        duckdb.connect(one).close()
    with pytest.raises(StoreError, match="has no bin store" if made else "does not exist; correct the path"):
        copy_store(place_at(one), place_at(other))
    assert not other.exists()
    assert one.exists() == made
