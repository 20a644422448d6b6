"""Stores that cannot be used: each fault says what, where and the fix, at once, and leaves the file alone."""

import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.bins.store.store import BinStore, open_store
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.store import connected
from exd_dagster.errors import StoreError
from tests.bins.conftest import flag, log, update

RECORDS = log((1, "u", "control"), (30, "z", "control"))
SOON = 5
"""Seconds; a lock is waited for longer than that."""


def database(file: Path, *statements: str) -> Path:
    """Write a DuckDB file of another program."""
    with duckdb.connect(str(file)) as connection:
        for statement in statements:
            connection.execute(statement)
    return file


def of_a_newer_duckdb(file: Path) -> Path:
    """Raise the version in the file's header; its checksum is the xor of the words, each times a constant."""
    content = bytearray(database(file, "CREATE TABLE t (a INTEGER)").read_bytes())
    assert content[8:12] == b"DUCK"
    struct.pack_into("<Q", content, 12, 2**20)
    checksum = 5381
    for (word,) in struct.iter_unpack("<Q", content[8:4096]):
        checksum ^= word * 0xBF58476D1CE4E5B9 % 2**64
    struct.pack_into("<Q", content, 0, checksum)
    file.write_bytes(content)
    return file


def of_sqlite(file: Path) -> Path:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    return file


def under_a_file(file: Path) -> Path:
    file.write_text("no folder")
    return file / "exd.duckdb"


FAULTS = {
    of_a_newer_duckdb: "written by another version of DuckDB.*install the version that wrote it",
    of_sqlite: "database of SQLite.*give another path",
    under_a_file: "is a file, not a folder; give another path",
}
faults = pytest.mark.parametrize(("make", "said"), FAULTS.items(), ids=lambda it: getattr(it, "__name__", ""))


@contextmanager
def refused(said: str, file: Path) -> Iterator[None]:
    """Expect an error that says so, names the file and comes soon."""
    begun = time.monotonic()
    with pytest.raises(StoreError, match=f"(?s){said}") as error:
        yield
    assert str(file) in str(error.value)
    assert time.monotonic() - begun < SOON


@faults
def test_a_run_refuses_it_at_once(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    file = make(tmp_path / "exd.duckdb")
    with refused(said, file), connected(DuckDBResource(database=str(file))):
        pass


@faults
def test_open_store_refuses_it_at_once(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    file = make(tmp_path / "exd.duckdb")
    with refused(said, file), open_store(file):
        pass


@faults
def test_trust_refuses_it_at_once(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    file = make(tmp_path / "exd.duckdb")
    with refused(said, file):
        trust("checkout", file)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE exd_meta (key VARCHAR)",
        "CREATE TABLE exd_meta (format VARCHAR, seed UBIGINT, probe UBIGINT, updates BIGINT)",
        "CREATE VIEW exd_meta AS SELECT 3 AS format",
        "CREATE TABLE exd_units (key VARCHAR)",
        "CREATE TABLE flag_bins (key VARCHAR)",
    ],
)
def test_a_database_with_other_tables_under_names_of_the_store_is_refused(statement, tmp_path: Path) -> None:
    file = database(tmp_path / "exd.duckdb", statement)
    before = tables_of(file)
    with refused("another program.*give the bin store a file of its own", file), open_store(file):
        pass
    assert tables_of(file) == before


def tables_of(file: Path) -> list[tuple[str, str]]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute("SELECT table_name, table_type FROM information_schema.tables").fetchall()


def test_a_database_with_other_tables_under_other_names_is_shared_with_them(tmp_path: Path) -> None:
    file = database(tmp_path / "warehouse.duckdb", "CREATE TABLE orders AS SELECT 1 AS id")
    with open_store(file) as store:
        update(store, RECORDS)
        assert store.read(flag()).new_units.sum() == 1
    with duckdb.connect(str(file)) as connection:
        assert connection.execute("FROM orders").fetchall() == [(1,)]


def test_trust_refuses_a_database_whose_flag_trust_is_of_another_program(tmp_path: Path) -> None:
    file = database(tmp_path / "exd.duckdb", "CREATE TABLE flag_trust (key VARCHAR)")
    with refused("give the store of the bins", file):
        trust("checkout", file)


@pytest.fixture
def denied() -> Iterator[Callable[[Path, int], None]]:
    """Take permissions away, and give them back; skips where the user may do everything anyway."""
    changed: list[Path] = []

    def deny(path: Path, mode: int) -> None:
        path.chmod(mode)
        changed.append(path)
        if os.access(path, os.W_OK):
            pytest.skip("permissions are not enforced for this user")

    yield deny
    for path in changed:
        path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_file_this_user_may_not_write_is_refused_at_once(mode, denied, tmp_path: Path) -> None:
    file = database(tmp_path / "exd.duckdb")
    denied(file, mode)
    with refused("let this user write", file), connected(DuckDBResource(database=str(file))):
        pass


def test_a_new_file_in_a_folder_this_user_may_not_write_is_refused_at_once(denied, tmp_path: Path) -> None:
    denied(tmp_path, 0o500)
    file = tmp_path / "exd.duckdb"
    with refused("let this user write", file), connected(DuckDBResource(database=str(file))):
        pass


def test_a_store_in_a_folder_this_user_may_not_write_is_not_reported_as_another_run(denied, tmp_path) -> None:
    file = database(tmp_path / "exd.duckdb")
    denied(tmp_path, 0o500)
    with refused("cannot be written.*correct the permissions", file), duckdb.connect(str(file)) as connection:
        BinStore(connection)


def test_a_log_for_changes_that_cannot_be_made_is_reported_as_the_store(tmp_path: Path) -> None:
    """As in a folder this user may not write, whoever runs the test: a folder has the name of that log."""
    file = tmp_path / "exd.duckdb"
    with duckdb.connect(str(file)) as connection:
        (tmp_path / "exd.duckdb.wal").mkdir()
        with refused("cannot be written.*correct the permissions", file):
            BinStore(connection)
