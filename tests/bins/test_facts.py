"""What is known of a flag-hour beside its counts, and what is set apart."""

from datetime import timedelta

from exd_dagster.telemetry.records import BEFORE_2000, FUTURE, NO_FLAG, UNREADABLE_TIME
from tests.bins.conftest import HOUR, NOW, START, cells, facts, flag, log, update

LATE = (30, "end", "control")


def test_a_repeated_evaluation_counts_once(store):
    rows = [(1, "a", "control")] * 4 + [LATE]
    update(store, log(*rows, evaluation_id=["e1", "e1", "e1", "e2", "e9"]))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 2)}


def test_a_pair_of_one_evaluation_counts_once(store):
    update(store, log((1, "a", "control"), (1, "a", "control"), LATE, evaluation_id=["e1", "e1", "e9"]))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


def test_rows_without_an_id_each_count(store):
    update(store, log((1, "a", "control"), (1, "a", "control"), LATE, evaluation_id=[None, "", "e9"]))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 2)}


def test_rows_without_unit_or_variant_are_counted_apart(store):
    rows = [(1, None, "control"), (1, "", "control"), (1, "a", None), (1, "b", ""), (1, "c", "control"), LATE]
    update(store, log(*rows))
    bins = store.read(flag())
    assert cells(bins) == {(1, "control"): (1, 1, 1)}
    assert facts(bins) == {(1, "null_units", "control"): 2, (1, "null_variants", ""): 2}


def test_manifest_versions_are_counted_by_evaluation(store):
    rows = [(1, "a", "control"), (1, "a", "control"), (1, "b", "control"), LATE]
    source = log(*rows, manifest_version=[7, 7, 8, 8], evaluation_id=["e1", "e1", "e2", "e3"])
    update(store, source)
    assert facts(store.read(flag())) == {(1, "manifest_version", "7"): 1, (1, "manifest_version", "8"): 1}


def test_a_row_ingested_after_its_hour_closed_is_late(store):
    ingested = [START + 2.9 * HOUR, START + 3.1 * HOUR, START + 31 * HOUR]
    update(store, log((1, "a", "control"), (1, "b", "control"), LATE, ingested_at=ingested))
    assert facts(store.read(flag())) == {(1, "late_rows", ""): 1}


def test_the_report_names_the_optional_columns_a_log_lacks(store):
    report = update(store, log((1, "a", "control"), LATE, manifest_version=1))
    assert report.absent == ("evaluation_id", "namespace", "environment", "evaluation_reason", "ingested_at")


def test_unusable_rows_are_counted_by_reason_and_in_no_bin(store):
    source = log(*[(1, unit, "control") for unit in "abcde"], LATE)
    source["timestamp"] = [
        START + HOUR,
        "not a time",
        "1999-12-31T23:59:59Z",
        NOW + timedelta(minutes=6),
        START + HOUR,
        START + 30 * HOUR,
    ]
    source.loc[4, "flag_key"] = None
    report = update(store, source)
    assert report.quarantined == {UNREADABLE_TIME: 1, BEFORE_2000: 1, FUTURE: 1, NO_FLAG: 1}
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


def test_a_record_in_the_future_does_not_move_the_watermark(store):
    report = update(store, log((1, "a", "control"), (500, "b", "control")))
    assert report.watermark == START + HOUR


def test_a_clock_ahead_by_five_minutes_is_tolerated(store):
    report = update(store, log((1, "a", "control")), now=START + HOUR - timedelta(minutes=5))
    assert report.quarantined == {}
