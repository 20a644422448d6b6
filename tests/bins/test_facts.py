"""What is known of a flag-hour beside its counts, and what is quarantined."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.model import FACTS, Fact, Facts, FlagBins
from exd_dagster.config import Phase
from exd_dagster.telemetry.records import BEFORE_2000, FUTURE, NO_FLAG, UNREADABLE_TIME
from tests.bins.conftest import HOUR, NOW, SPLIT, START, cells, facts, flag, log, update
from tests.bins.engine_log import in_duckdb

LATE = (30, "end", "control")
hours = st.integers(0, 40)


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


def test_rows_that_repeat_an_evaluation_are_reported_by_variant(store):
    rows = [(1, "a", "control")] * 3 + [(1, "b", "treatment")] * 2 + [(2, "a", "control"), LATE]
    update(store, log(*rows, evaluation_id=["e1", "e1", "e2", "e3", "e3", "e1", "e9"]))
    bins = store.read(flag())
    assert cells(bins) == {(1, "control"): (1, 1, 2), (1, "treatment"): (1, 1, 1), (2, "control"): (0, 1, 1)}
    assert facts(bins) == {(1, "duplicate_rows", "control"): 1, (1, "duplicate_rows", "treatment"): 1}


def test_ids_that_units_share_are_reported_and_each_unit_counts(store):
    """Such ids name no evaluation: taking them at their word would lose all units but one."""
    rows = [(1, unit, "control") for unit in "abc"] + [LATE]
    update(store, log(*rows, evaluation_id=["e1", "e1", "e1", "e9"]))
    bins = store.read(flag())
    assert cells(bins) == {(1, "control"): (3, 3, 3)}
    assert facts(bins) == {(1, "reused_ids", "control"): 2}


def test_rows_without_unit_or_variant_are_counted_apart(store):
    rows = [(1, None, "control"), (1, "", "control"), (1, "a", None), (1, "b", ""), (1, "c", "control"), LATE]
    update(store, log(*rows))
    bins = store.read(flag())
    assert cells(bins) == {(1, "control"): (1, 1, 1)}
    assert facts(bins) == {(1, "null_units", "control"): 2, (1, "null_variants", ""): 2}


@pytest.mark.parametrize("variants", [2, 8, 9, 16, 17, 32, 33, 64, 65, 70])
def test_a_unit_in_several_variants_is_reported_however_many_there_are(store, variants):
    names = [f"v{i:02}" for i in range(variants)]
    rows = [(1, f"u{i}", name) for i, name in enumerate(names)]
    update(store, log(*rows, (2, "u0", names[-1]), (30, "end", names[0])))
    multi = [fact.count for fact in store.read(flag()).facts if fact.name == "multi_variant_units"]
    assert multi == [1]


def test_manifest_versions_are_counted_by_evaluation(store):
    rows = [(1, "a", "control"), (1, "a", "control"), (1, "b", "control"), LATE]
    source = log(*rows, manifest_version=[7, 7, 8, 8], evaluation_id=["e1", "e1", "e2", "e3"])
    update(store, source)
    found = facts(store.read(flag()))
    assert found.pop((1, "duplicate_rows", "control")) == 1
    assert found == {(1, "manifest_version", "7"): 1, (1, "manifest_version", "8"): 1}


def test_a_row_ingested_once_its_hour_is_closed_is_late(store):
    ingested = [START + 3 * HOUR - timedelta(seconds=1), START + 3 * HOUR, START + 31 * HOUR]
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


@pytest.mark.parametrize("read", [lambda table: table, in_duckdb], ids=["DuckDB", "an engine"])
def test_a_flag_is_reported_of_its_own_rows_that_were_quarantined(store, read):
    rows = [(1, "a", "control"), (1, "b", "control"), (1, "c", "control"), (1, "d", "control"), LATE]
    source = log(*rows).assign(flag_key=["checkout", "checkout", "other", "unheard of", "checkout"])
    source["timestamp"] = [START + HOUR, None, NOW + HOUR, None, START + 30 * HOUR]
    report = update(store, read(source), flag(), flag("other"), flag("third"))
    assert report.flags[flag().id].quarantined == {UNREADABLE_TIME: 1}
    assert report.flags[flag("other").id].quarantined == {FUTURE: 1}
    assert report.flags[flag("third").id].quarantined == {}
    assert report.quarantined == {UNREADABLE_TIME: 2, FUTURE: 1}


def test_every_fact_has_a_name_of_the_list(store):
    rows = [(1, "a", "control"), (1, "a", "treatment"), (1, None, "control"), (1, "b", None), LATE]
    rows += [(1, "c", "control"), (1, "c", "control"), (1, "d", "control"), (2, "e", "control")]
    ids = ["e1", "e2", "e3", "e4", "e5", "e6", "e6", "e6", "e7"]
    reasons = [None] * 8 + ["off"]
    audit = flag(phases=(Phase(start=START + 3 * HOUR, split=SPLIT),))
    rows += [(2, "g", "control"), (4, "g", "treatment")]
    source = log(
        *rows,
        evaluation_id=[*ids, "e8", "e9"],
        evaluation_reason=[*reasons, None, None],
        manifest_version=7,
        ingested_at=NOW,
    )
    update(store, source, audit)
    assert {fact.name for fact in store.read(audit).facts} == set(FACTS)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(FACTS), st.integers(1, 9))), hours, hours)
def test_facts_of_some_hours_are_those_taken_one_by_one(seen, first, last):
    """By columns, in order of hour, as single facts are; also of hours outside of the bins."""
    every = [Fact(START + hour * HOUR, name, "x", count) for hour, name, count in seen]
    by_hour = np.zeros((30, 1), dtype=np.int64)
    bins = FlagBins(
        flag().id, ("control",), START, by_hour, by_hour, by_hour, by_hour[:, 0] == 0, Facts.of(every)
    )
    found = bins.between(START + first * HOUR, START + last * HOUR)
    wanted = [fact for fact in sorted(every) if first <= (fact.hour - START) // HOUR < min(last, 30)]
    assert list(found.facts) == wanted
    assert found.fact_total("late_rows") == sum(fact.count for fact in wanted if fact.name == "late_rows")


def test_a_record_in_the_future_does_not_move_the_watermark(store):
    report = update(store, log((1, "a", "control"), (500, "b", "control")))
    assert report.watermark == START + HOUR


def test_a_clock_ahead_by_five_minutes_is_tolerated(store):
    report = update(store, log((1, "a", "control")), now=START + HOUR - timedelta(minutes=5))
    assert report.quarantined == {}


def test_hours_cut_out_of_the_bins_take_their_facts_along(store):
    update(
        store, log((1, "a", "control"), (2, "b", "control"), (3, "c", "control"), LATE, manifest_version="7")
    )
    part = store.read(flag()).between(START + 2 * HOUR, START + 3 * HOUR)
    assert facts(part) == {(2, "manifest_version", "7"): 1}


def test_single_facts_of_bins_are_put_together():
    counts = np.ones((1, 1), dtype=np.int64)
    seen = (Fact(START, "late_rows", "", 2), Fact(START, "late_rows", "a", 3))
    bins = FlagBins(flag().id, ("control",), START, counts, counts, counts, np.array([True]), seen)
    assert bins.fact_total("late_rows") == 5
