"""The hash of units: the same number whoever computes it, so that a store outlives a version of DuckDB."""

import gc
import sys
from itertools import cycle
from unittest.mock import patch

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.store.store import BinStore
from exd_dagster.telemetry import unit_hash
from tests.bins.conftest import SPLIT, facts, flag, log, update

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.integers(0, 2**64 - 1)


@given(st.lists(TEXTS, max_size=20), NUMBERS)
def test_python_numpy_and_duckdb_hash_texts_alike(texts, seed):
    data = [text.encode() for text in texts]
    edges = np.cumsum([0, *map(len, data)])
    found = unit_hash.hash_bytes(np.frombuffer(b"".join(data), np.uint8), edges).tolist()
    rows = duckdb.sql("SELECT hash(unnest(?))", params=[texts]).fetchall() if texts else []
    assert [unit_hash.hash_text(text) for text in texts] == found == [value for (value,) in rows]


@given(NUMBERS, NUMBERS)
def test_python_numpy_and_duckdb_hash_numbers_alike(value, seed):
    ((found,),) = duckdb.sql(f"SELECT hash({value}::UBIGINT, {seed}::UBIGINT)").fetchall()
    array = unit_hash.hash_numbers(np.array([value], np.uint64), np.array([seed], np.uint64))
    assert unit_hash.hash_seeded(value, seed) == found == array[0]


def test_these_values_never_change():
    """Stores that exist hold them."""
    kept = {
        "": 5104928228550385088,
        "a": 12561829011207016135,
        "unit-1": 5975055163303565498,
        "thirteen byte": 13670929799911331740,
        "Ünït-✓": 12641638476915379715,
    }
    assert {text: unit_hash.hash_text(text) for text in kept} == kept
    assert unit_hash.hash_seeded(5, 7) == 5722841600064895740


@pytest.fixture(params=["arrow", "row by row"])
def other_duckdb(request, monkeypatch):
    """A DuckDB whose `hash` gives something else, with pyarrow or without."""
    monkeypatch.setattr(unit_hash, "hashes_natively", lambda connection: False)
    if request.param == "row by row":
        monkeypatch.setitem(sys.modules, "pyarrow", None)


UNITS = {
    "text": [f"unit-{i}" for i in range(30)],
    "unicode": [f"Ünït ✓ \U0001f680 {i}" for i in range(30)],
    "numbers": list(range(-15, 15)),
}


def stored(connection):
    tables = ("exd_units", "exd_bins", "exd_facts")
    return {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in tables}


@pytest.mark.parametrize("kind", UNITS)
def test_a_store_is_the_same_whoever_hashes(kind, other_duckdb):
    records = log(
        *[
            (i % 7 + 0.5, unit, arm)
            for i, (unit, arm) in enumerate(zip(UNITS[kind], cycle(SPLIT), strict=False))
        ]
    )
    stores = []
    for native in (True, False):
        with duckdb.connect() as connection, patch("secrets.randbits", return_value=99):
            with patch.object(unit_hash, "hashes_natively", lambda connection, native=native: native):
                update(BinStore(connection), records)
            stores.append(stored(connection))
    assert stores[0] == stores[1]
    assert len(stores[0]["exd_units"]) == 30


def test_units_are_known_again_when_another_duckdb_takes_over_and_back(tmp_path, other_duckdb):
    file = str(tmp_path / "bins.duckdb")
    rows = [(hour + 0.5, f"unit-{i}", "control") for hour in (1, 2, 3) for i in range(20)]
    records = log(*rows, (30, "end", "control"))
    for last, native in ((2, True), (3, False), (4, True)):
        with (
            duckdb.connect(file) as connection,
            patch.object(unit_hash, "hashes_natively", lambda connection, native=native: native),
        ):
            update(BinStore(connection), records, hours=(0, last))
    with duckdb.connect(file) as connection:
        assert BinStore(connection).read(flag()).new_units.sum() == 20


def test_the_functions_outlive_the_connection_that_made_them(tmp_path, other_duckdb):
    """They belong to the database, which all connections of a process to one file share."""
    file = str(tmp_path / "bins.duckdb")
    with duckdb.connect(file) as second:
        with duckdb.connect(file) as first:
            BinStore(first)
        store = BinStore(second)
        del first
        gc.collect()
        update(store, log((1, "unit", "control"), (30, "end", "control")))
        assert store.read(flag()).new_units.sum() == 1


def test_records_without_a_unit_are_reported_the_same_whoever_hashes(other_duckdb):
    records = log((1, "a" * 36, "control"), (1, None, "control"), (1, "", "control"), (30, "z", "control"))
    with duckdb.connect() as connection:
        store = BinStore(connection)
        update(store, records)
        assert facts(store.read(flag()))[1, "null_units", "control"] == 2


def test_prints_made_by_another_hash_are_taken_anew_and_no_count_changes():
    """Prints are DuckDB's own hash: where it changes, the lookback is counted once more."""
    records = log((1, "a", "control"), (2, "b", "treatment"), (30, "z", "control"))
    prints = "FROM exd_prints ORDER BY ALL"
    with duckdb.connect() as connection:
        store = BinStore(connection)
        update(store, records)
        before = stored(connection), connection.execute(prints).fetchall()
        connection.execute("UPDATE exd_prints SET hashes = hashes + 1")
        assert update(store, records).flags[flag().id].hours_changed == ()
        assert before == (stored(connection), connection.execute(prints).fetchall())
