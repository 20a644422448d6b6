"""The store: what is closed, what is delivered, what changed, and what it refuses."""

from datetime import timedelta

import duckdb
import pytest

from exd_dagster.bins.store.store import BinStore, open_store
from exd_dagster.config import Phase
from exd_dagster.errors import RecordsError, StoreError
from exd_dagster.telemetry.sources.duckdb import as_records
from tests.bins.conftest import HOUR, NOW, SPLIT, START, cells, flag, log, update

LATE = (30, "end", "control")
"""A record far enough ahead to close every hour before it."""


def test_a_unit_is_new_in_the_bin_of_its_first_exposure_only(store):
    update(store, log((1.5, "u", "control"), (1.6, "u", "control"), (4, "u", "control"), LATE))
    found = cells(store.read(flag()))
    assert found == {(1, "control"): (1, 1, 2), (4, "control"): (0, 1, 1)}


def test_a_record_that_turns_out_earlier_moves_its_unit(store):
    update(store, log((4, "u", "control"), LATE))
    report = update(store, log((1, "u", "treatment"), (4, "u", "control"), LATE))
    assert cells(store.read(flag())) == {(1, "treatment"): (1, 1, 1), (4, "control"): (0, 1, 1)}
    assert report.flags[flag().id].hours_changed == (START + HOUR, START + 4 * HOUR)


def test_removed_records_leave_no_trace(store):
    update(store, log((1, "u", "treatment"), (4, "u", "control"), LATE))
    update(store, log((4, "u", "control"), LATE))
    bins = store.read(flag())
    assert cells(bins) == {(4, "control"): (1, 1, 1)}
    assert bins.fact_total("multi_variant_units") == 0


def test_records_removed_from_an_old_window_are_noticed_when_it_is_read_again(store):
    """The unit's later records lie outside the window that is read again."""
    update(store, log((1, "u", "treatment"), (20, "u", "control"), LATE))
    update(store, log((20, "u", "control"), LATE), hours=(1, 2), lookback=timedelta(0))
    assert cells(store.read(flag())) == {(20, "control"): (1, 1, 1)}


def test_an_exposure_at_the_end_of_the_hours_read_again_is_kept(store):
    """The first instant after them: a late record before it makes the unit one of two variants."""
    whole = log((0.5, "u", "treatment"), (1, "u", "control"), LATE)
    update(store, log((1, "u", "control"), LATE))
    update(store, whole, hours=(0, 1), lookback=timedelta(0))
    bins = store.read(flag())
    assert bins.fact_total("multi_variant_units") == 1
    assert cells(bins) == {(0, "treatment"): (1, 1, 1), (1, "control"): (0, 1, 1)}


def test_the_calendar_is_complete_and_ends_with_the_last_closed_hour(store):
    update(store, log((1, "u", "control"), (5.5, "v", "control")))
    bins = store.read(flag())
    assert bins.start == START
    assert bins.audited_through == START + 4 * HOUR  # 05:30 less one hour of lateness
    assert bins.units.shape == (4, 2)


def test_sql_reads_the_closed_hours_with_names_and_instants(store, connection):
    closed = (1.5, "u", "control"), (2, "v", "treatment"), (2, "u", "control")
    update(store, log(*closed, (5.5, "w", "control")))
    columns = "flag_key, epoch_us(hour), variant, new_units, units, evaluations"
    rows = connection.execute(f"SELECT {columns} FROM flag_bins ORDER BY ALL").fetchall()
    one, two = (int((START + hour * HOUR).timestamp()) * 1_000_000 for hour in (1, 2))
    key = flag().key
    assert rows == [
        (key, one, "control", 1, 1, 1),
        (key, two, "control", 0, 1, 1),
        (key, two, "treatment", 1, 1, 1),
    ]


def test_an_hour_in_which_no_flag_has_a_record_is_not_delivered(store):
    source = log((1, "u", "control"), (2, "v", "control"), LATE)
    source.loc[1, "flag_key"] = "another"
    update(store, source)
    assert store.read(flag()).delivered.tolist()[:4] == [False, True, True, False]


def test_hours_past_the_watermark_are_read_when_they_land_however_late(store):
    """An outage of the log: windows pass, nothing lands, then all of it lands at once."""
    update(store, log((1, "u", "control")), hours=(0, 2))
    update(store, log((1, "u", "control")), hours=(70, 71), lookback=timedelta(0))
    update(
        store,
        log((1, "u", "control"), (3, "v", "control"), (72, "w", "control")),
        hours=(71, 72),
        lookback=timedelta(0),
    )
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (3, "control"): (1, 1, 1)}


def test_a_flag_is_counted_from_its_own_start_whatever_the_first_window(store):
    source = log((1, "u", "control"), (9, "u", "control"), LATE)
    update(store, source, hours=(9, 10), lookback=timedelta(0))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (9, "control"): (0, 1, 1)}


def test_updating_again_changes_no_hour(store):
    source = log((1, "u", "control"), (2, "v", "treatment"), LATE)
    update(store, source)
    assert update(store, source).flags[flag().id].hours_changed == ()


def test_two_flags_share_one_scan_and_keep_their_own_bins(store):
    source = log((1, "u", "control"), (2, "v", "treatment"), LATE)
    source.loc[1, "flag_key"] = "other"
    update(store, source, flag(), flag("other"))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}
    assert cells(store.read(flag("other"))) == {(2, "treatment"): (1, 1, 1)}


def test_a_changed_declaration_counts_the_flag_anew(store):
    source = log((1, "u", "control"), (2, "v", "bot"), LATE)
    update(store, source)
    without = flag(ignore_variants=("bot",))
    with pytest.raises(StoreError, match="materialize its bins again"):
        store.read(without)
    report = update(store, source, without, hours=(20, 21), lookback=timedelta(0))
    assert report.flags[flag().id].rebuilt
    assert cells(store.read(without)) == {(1, "control"): (1, 1, 1)}


def test_a_phase_that_has_not_begun_rebuilds_nothing(store):
    source = log((1, "u", "control"), LATE)
    update(store, source)
    later = flag(phases=(Phase(start=START + 100 * HOUR, split=SPLIT),))
    assert not update(store, source, later).flags[flag().id].rebuilt


def test_rebuild_forgets_what_is_stored(store):
    update(store, log((1, "u", "control"), LATE))
    store.rebuild(log((2, "u", "control"), LATE), [flag()], now=NOW)
    assert cells(store.read(flag())) == {(2, "control"): (1, 1, 1)}


def test_a_flag_never_counted_has_no_hours(store):
    assert len(store.read(flag("unknown"))) == 0


def test_the_watermark_is_the_newest_record_of_any_flag(store):
    source = log((1, "u", "control"), (7.25, "v", "control"))
    source.loc[1, "flag_key"] = "another"
    report = update(store, source)
    assert report.watermark == START + 7.25 * HOUR
    assert store.watermark(report.source) == report.watermark
    assert store.watermark("never read") is None


def test_many_undeclared_variants_keep_the_most_seen_and_sum_the_rest(store):
    rows = [(1, f"u{i}", f"v{i:03}") for i in range(60)] + [(1, "w", "v059"), LATE]
    update(store, log(*rows))
    bins = store.read(flag())
    assert len(bins.variants) == 2 + 50 + 1
    assert bins.variants[-1] == "(other)"
    assert int(bins.new_units.sum()) == 61
    assert "v059" in bins.variants


def test_a_store_of_format_1_is_brought_up_to_date_where_it_lies(connection):
    update(BinStore(connection), log((1, "u", "control")))
    connection.execute("DROP TABLE exd_prints; DROP VIEW flag_bins; UPDATE exd_meta SET format = 1")
    store = BinStore(connection)
    update(store, log((1, "u", "control"), (2, "v", "control"), LATE))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (2, "control"): (1, 1, 1)}
    assert len(connection.execute("FROM flag_bins").fetchall()) == 2


def test_a_store_of_a_newer_format_is_refused_with_the_fix(connection):
    BinStore(connection)
    connection.execute("UPDATE exd_meta SET format = 99")
    with pytest.raises(StoreError, match=r"format 99.*install the version"):
        BinStore(connection)


def test_a_store_whose_hash_cannot_be_continued_is_refused_with_the_fix(connection):
    BinStore(connection)
    connection.execute("UPDATE exd_meta SET probe = probe - 1")
    with pytest.raises(StoreError, match=r"a DuckDB before 1\.4"):
        BinStore(connection)


def test_open_store_names_a_missing_folder(tmp_path):
    with (
        pytest.raises(StoreError, match="folder does not exist"),
        open_store(tmp_path / "no" / "bins.duckdb"),
    ):
        pass


def test_open_store_names_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "bins.duckdb"
    path.write_text("not a database, and long enough to be looked at" * 200)
    with pytest.raises(StoreError, match="cannot be opened as a DuckDB database"), open_store(path):
        pass


def test_what_is_stored_survives_closing(tmp_path):
    source = log((1, "u", "control"), (2, "u", "treatment"), LATE)
    with open_store(tmp_path / "bins.duckdb") as store:
        update(store, source)
    with open_store(tmp_path / "bins.duckdb") as store:
        update(store, source)
        assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (2, "treatment"): (0, 1, 1)}


@pytest.mark.parametrize(
    "name", ["exd.duckdb", "exd_bins.duckdb", "main.duckdb", "temp.duckdb", "my store.db", "Über.duckdb"]
)
def test_a_store_file_may_have_any_name(name, tmp_path):
    with open_store(tmp_path / name) as store:
        update(store, log((1, "u", "control"), LATE))
        update(store, log((1, "u", "control"), (2, "v", "control"), LATE))
        assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (2, "control"): (1, 1, 1)}


def test_nothing_temporary_is_left_in_the_connection(connection, store):
    update(store, log((1, "u", "control"), (2, "u", "treatment"), LATE))
    update(store, log((1, "u", "control"), (2, "u", "treatment"), LATE))
    left = (
        "SELECT table_name FROM duckdb_tables() WHERE temporary "
        "UNION SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
    )
    assert connection.execute(left).fetchall() == []
    assert connection.execute("SELECT current_setting('preserve_insertion_order')").fetchone() == (True,)


def test_a_reading_that_fails_leaves_the_store_as_it_was(connection, store):
    update(store, log((1, "u", "control"), LATE))
    before = connection.execute("SELECT * FROM exd_bins").fetchall()
    with pytest.raises(RecordsError):
        update(store, log((1, "u", "control"), LATE).drop(columns="variant_key"))
    assert connection.execute("SELECT * FROM exd_bins").fetchall() == before
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


def test_two_connections_of_one_process_never_write_half_each(tmp_path):
    """The second writer of the same rows fails clearly; the first is kept whole."""
    first = duckdb.connect(str(tmp_path / "bins.duckdb"))
    store = BinStore(first)
    source = as_records(log((1, "u", "control"), LATE))
    update(store, source)
    first.execute("BEGIN")
    first.execute("UPDATE exd_meta SET updates = updates + 1")  # as every update does before anything else
    with pytest.raises(StoreError, match="at the same time"):
        update(BinStore(first.cursor()), as_records(log((1, "u", "control"), (2, "v", "control"), LATE)))
    first.execute("ROLLBACK")
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}
