"""First exposures alone, retention and privacy: what the store keeps of a unit."""

from datetime import timedelta
from unittest.mock import patch

import duckdb
import pytest

from exd_dagster.bins.counting import count
from exd_dagster.bins.recount import first_exposures
from exd_dagster.bins.store.store import BinStore
from tests.bins.conftest import HOUR, NOW, START, cells, flag, log, update

LATE = (30, "end", "control")


@pytest.mark.parametrize("rows", [1, 3, 10**6])
def test_first_exposures_alone_are_those_of_the_bins_in_any_shares_of_the_units(connection, store, rows):
    units = [(1 + i % 3, f"u{i}", "control" if i < 4 else "treatment") for i in range(7)]
    source = log(*units, *units, (7, "u0", "treatment"), LATE)
    with patch.object(count, "GROUPED_ROWS", rows):
        found = first_exposures(connection, source, flag(), end=NOW)
    assert {cell: counts for cell, counts in found.items() if cell[0] < START + 30 * HOUR} == {
        (START + 1 * HOUR, "control"): (2, 1),
        (START + 2 * HOUR, "control"): (1, 0),
        (START + 3 * HOUR, "control"): (1, 0),
        (START + 1 * HOUR, "treatment"): (1, 0),
        (START + 2 * HOUR, "treatment"): (1, 0),
        (START + 3 * HOUR, "treatment"): (1, 0),
    }


def test_units_of_ended_flags_can_be_dropped_and_the_bins_stay(connection, store):
    ended = flag(end=START + 5 * HOUR)
    source = log((1, "u", "control"), LATE)
    source.loc[len(source)] = [START + HOUR, "running", "control", "u"]
    update(store, source, ended, flag("running"))
    before = cells(store.read(ended))
    assert store.drop_ended_units(before=NOW) == (ended.id,)
    assert connection.execute("SELECT count(*) FROM exd_units").fetchone() == (1,)
    assert cells(store.read(ended)) == before
    update(store, source, ended, flag("running"), hours=(40, 41), lookback=timedelta(0))
    assert cells(store.read(ended)) == before
    assert store.drop_ended_units(before=NOW) == ()


def test_a_flag_whose_units_were_dropped_is_counted_from_its_start_when_it_is_read_again(store):
    ended = flag(end=START + 5 * HOUR)
    update(store, log((1, "u", "control"), LATE), ended)
    store.drop_ended_units(before=NOW)
    update(
        store, log((1, "u", "control"), (3, "u", "control"), LATE), ended, hours=(3, 4), lookback=timedelta(0)
    )
    assert cells(store.read(ended)) == {(1, "control"): (1, 1, 1), (3, "control"): (0, 1, 1)}


def test_with_a_retention_an_update_forgets_the_units_of_flags_that_ended_before_it(connection, store):
    """Eight days before the clock is one day after the start."""
    old, recent = flag("old", end=START + 5 * HOUR), flag("recent", end=START + 25 * HOUR)
    source = log((1, "u", "control"), (1, "v", "control"), LATE).assign(flag_key=["old", "recent", "recent"])
    update(store, source, old, recent, retention=timedelta(days=8))
    assert connection.execute(
        "SELECT DISTINCT key FROM exd_units JOIN exd_flags USING (flag)"
    ).fetchall() == [("recent",)]
    assert cells(store.read(old)) == {(1, "control"): (1, 1, 1)}
    again = update(store, source, old, recent, hours=(40, 41), retention=timedelta(days=8))
    assert not again.flags[old.id].hours_changed


def test_the_units_of_an_ended_flag_are_kept_while_its_records_are_still_being_read(connection, store):
    """A backfill by windows of a flag that ended long ago."""
    audit = flag(end=START + 25 * HOUR)
    source = log((1, "u", "control"), (20, "u", "control"), (21, "v", "control"), LATE)
    for first, left in ((0, 1), (10, 1), (20, 0)):
        update(store, source, audit, hours=(first, first + 10), lookback=timedelta(0), retention=timedelta(0))
        assert connection.execute("SELECT count(*) FROM exd_units").fetchone() == (left,)
    expected = {(1, "control"): (1, 1, 1), (20, "control"): (0, 1, 1), (21, "control"): (1, 1, 1)}
    assert cells(store.read(audit)) == expected


@pytest.mark.parametrize(
    "name",
    [lambda i: f"person-{i}@example.com", lambda i: f"{i:064x}", lambda i: 0x5EC0DE00000000 + i],
    ids=["text", "hex", "number"],
)
def test_the_store_holds_no_unit_id(name, tmp_path):
    """Nor an evaluation id, nor any value of a quarantined row; not in its log of changes either."""
    units = [name(i) for i in range(200)]
    source = log(
        *((1 + i / 100, unit, "control") for i, unit in enumerate(units)), (30, name(200), "control")
    )
    source["evaluation_id"] = [f"secret-{i}" for i in range(201)]
    source["timestamp"] = source["timestamp"].astype(str).where(source.index % 50 != 7, "secret time")
    connection = duckdb.connect(str(tmp_path / "bins.duckdb"))
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    report = update(BinStore(connection), source)
    assert report.quarantined
    before = (tmp_path / "bins.duckdb.wal").read_bytes()
    connection.execute("CHECKPOINT")
    connection.close()
    kept = before + (tmp_path / "bins.duckdb").read_bytes() + str(report).encode()
    assert b"control" in kept
    for unit in units:
        assert (unit.to_bytes(8, "little") if isinstance(unit, int) else unit.encode()) not in kept
    assert b"secret" not in kept


def test_two_stores_keep_different_hashes_of_one_unit():
    kept = []
    for connection in (duckdb.connect(), duckdb.connect()):
        update(BinStore(connection), log((1, 12345, "control"), (30, 6, "control")))
        kept.append(set(connection.execute("SELECT unit FROM exd_units").fetchall()))
    assert not kept[0] & kept[1]
    assert (12345,) not in kept[0]
