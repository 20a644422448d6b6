"""Reasons and filter values as vendors and writers spell them, on files and on an engine."""

import json

import pandas as pd
import pytest

from exd_dagster.bins.counting.audience import counts_the_same, definition, wanted_values
from exd_dagster.config.reasons import EXCLUDED_REASONS, reason_form
from tests.bins.conftest import cells, facts, flag, log, update
from tests.bins.engine_log import COLUMNS

LATE = (30, "end", "control")
PLACES = ["files", "engine", pytest.param("postgres", marks=pytest.mark.engines)]


def counted(store, give, place, audit, rows, **columns):
    """Count rows of one variant in the hour of the first of them, and return their units."""
    table = log(*((1, f"u{i}", "control") for i in range(rows)), LATE, **columns)
    kinds = {**COLUMNS, **{name: "string" for name in columns if name not in COLUMNS}}
    update(store, give(place, table, kinds), audit)
    return cells(store.read(audit)).get((1, "control"), (0, 0, 0))[0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "reason",
    [
        "error",
        "ERROR",
        "Off",
        "PREREQUISITE_FAILED",
        "prerequisiteFailed",
        "Prerequisite-Failed",
        "SDK_DEFAULT",
        "DISABLED",
        "DEFAULT",
        '{"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}',
        '{"errorKind":"CLIENT_NOT_READY","kind":"ERROR"}',
        "{'kind': OFF, 'errorKind': NULL}",
    ],
)
def test_a_reason_without_an_assignment_is_left_out_however_it_is_written(store, records_of, place, reason):
    reasons = [reason, "SPLIT", reason, "SPLIT"]
    assert counted(store, records_of, place, flag(), 3, evaluation_reason=reasons) == 1
    ((_, _, reported),) = facts(store.read(flag()))
    assert reason_form(reported) == reason_form(reason)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "reason",
    [
        "STATIC",
        "CACHED",
        "STALE",
        "TARGETING_MATCH",
        "UNKNOWN",
        "FALLTHROUGH",
        '{"kind": "RULE_MATCH", "ruleId": "OFF"}',
    ],
)
def test_a_reason_with_an_assignment_counts(store, records_of, place, reason):
    assert counted(store, records_of, place, flag(), 3, evaluation_reason=reason) == 3


def test_the_reason_of_a_struct_column_is_its_kind(store):
    kinds = [
        {"kind": kind, "errorKind": "" if kind == "RULE_MATCH" else "X"} for kind in ["ERROR", "RULE_MATCH"]
    ]
    table = log((1, "a", "control"), (1, "b", "control"), LATE)
    table["evaluation_reason"] = [*kinds, kinds[1]]
    update(store, table)
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


def test_reasons_of_ones_own_are_compared_in_the_same_way(store, records_of):
    audit = flag(exclude_reasons=("Kill Switch",))
    assert (
        counted(store, records_of, "files", audit, 2, evaluation_reason=["KILL_SWITCH", "error", "error"])
        == 1
    )


def test_bins_counted_with_the_former_default_reasons_are_kept():
    """A log may no longer hold what they were counted from."""
    former = {**definition(flag()), "exclude_reasons": ["error", "off", "prerequisite_failed", "sdk_default"]}
    assert counts_the_same(json.dumps(former), flag(), 10**6)
    assert not counts_the_same(json.dumps(former), flag(exclude_reasons=("off",)), 10**6)


def test_every_default_reason_is_known_by_its_form():
    assert len({reason_form(reason) for reason in EXCLUDED_REASONS}) == len(EXCLUDED_REASONS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("wanted", "seen", "others"),
    [
        (True, ["true", "True", "TRUE", "t", "1", "1.0", " true "], ["false", "0", "", "2"]),
        (False, ["false", "False", "FALSE", "f", "0", "0.0"], ["true", "1", ""]),
        (1, ["1", "1.0", " 1"], ["true", "2", "1.5"]),
        (2.5, ["2.5", "2.50"], ["2", "25"]),
        ("DE", ["DE", " DE", "DE   "], ["de", "D E", "DEU"]),
        ("5", ["5", "5.0"], ["50", "5.5"]),
        (2**60 + 1, [str(2**60 + 1)], [str(2**60), str(2**60 + 2)]),
    ],
)
def test_a_filter_finds_its_value_however_a_csv_spells_it(store, records_of, place, wanted, seen, others):
    values = [*seen, *others]
    audit = flag(include={"kind": [wanted]})
    assert counted(store, records_of, place, audit, len(values), kind=[*values, seen[0]]) == len(seen)


@pytest.mark.parametrize("place", PLACES)
def test_a_number_is_found_in_a_column_of_numbers(store, records_of, place):
    audit = flag(include={"score": [1]})
    assert counted(store, records_of, place, audit, 3, score=[1, 2, 1, 1]) == 2


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("values", [[True], [1], ["true"]])
def test_a_column_of_truth_is_found_by_truth_number_and_text(store, records_of, place, values):
    audit = flag(include={"beta": values})
    table = log((1, "a", "control"), (1, "b", "control"), LATE).assign(beta=pd.Series([True, False, True]))
    update(store, records_of(place, table, {**COLUMNS, "beta": "boolean"}), audit)
    assert cells(store.read(audit)) == {(1, "control"): (1, 1, 1)}


def test_a_filter_value_is_compared_in_one_way_only():
    assert wanted_values([True]).numbers == (1.0,)
    assert wanted_values(["x"]).truths == ()
