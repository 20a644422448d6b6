"""Who is counted: filters, ignored variants, reasons, phases, namespaces and environments."""

import pytest

from exd_dagster.config import Phase
from tests.bins.conftest import HOUR, SPLIT, START, cells, facts, flag, log, update

LATE = (30, "end", "control")


def test_records_before_the_start_and_from_the_end_on_never_count(store):
    audit = flag(start=START + 1.5 * HOUR, end=START + 3.5 * HOUR)
    rows = [(1.4, "a", "control"), (1.5, "b", "control"), (3.4, "c", "control"), (3.5, "d", "control"), LATE]
    update(store, log(*rows), audit)
    bins = store.read(audit)
    assert cells(bins) == {(1, "control"): (1, 1, 1), (3, "control"): (1, 1, 1)}
    assert len(bins) == 3


@pytest.mark.parametrize(("value", "other"), [("bot", "person"), (1, 2), (2.5, 1.0), (True, False)])
def test_exclude_leaves_out_the_records_with_a_value_and_keeps_the_empty_ones(store, value, other):
    audit = flag(exclude={"kind": [value]})
    rows = [(1, "a", "control"), (1, "b", "control"), (1, "c", "control"), LATE]
    update(store, log(*rows, kind=[value, other, None, other]), audit)
    assert cells(store.read(audit)) == {(1, "control"): (2, 2, 2)}


def test_include_keeps_only_the_records_with_a_value(store):
    audit = flag(include={"country": ["de", "fr"]})
    rows = [(1, "a", "control"), (1, "b", "control"), (1, "c", "control"), LATE]
    update(store, log(*rows, country=["de", "us", None, "fr"]), audit)
    assert cells(store.read(audit)) == {(1, "control"): (1, 1, 1)}


def test_filters_of_one_flag_leave_the_others_alone(store):
    source = log((1, "a", "control"), (1, "b", "control"), LATE, country=["de", "us", "de"])
    source.loc[1, "flag_key"] = "other"
    update(store, source, flag(exclude={"country": ["us"]}), flag("other"))
    assert cells(store.read(flag("other"))) == {(1, "control"): (1, 1, 1)}


def test_a_filter_value_cannot_end_its_own_quotes(store):
    evil = "x') OR true OR ('1'='1"
    audit = flag(include={"country": [evil]})
    update(store, log((1, "a", "control"), LATE, country="de"), audit)
    assert cells(store.read(audit)) == {}


def test_a_filter_on_a_column_the_log_lacks_stops_that_flag_only(store):
    source = log((1, "a", "control"), LATE, country="de")
    report = update(store, source, flag("other", include={"contry": ["de"]}), flag())
    assert "Did you mean 'country'?" in report.flags[flag("other").id].error
    assert report.flags[flag().id].error is None
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


def test_ignored_variants_are_neither_counted_nor_undeclared(store):
    audit = flag(ignore_variants=("holdout",))
    update(store, log((1, "a", "holdout"), (2, "a", "control"), LATE), audit)
    bins = store.read(audit)
    assert bins.variants == ("control", "treatment")
    assert cells(bins) == {(2, "control"): (1, 1, 1)}


def test_evaluations_without_an_assignment_are_counted_apart_by_reason(store):
    reasons = ["off", "sdk_default", "rule_matched", None, "fallthrough"]
    rows = [(1, unit, "control") for unit in "abcd"] + [LATE]
    update(store, log(*rows, evaluation_reason=reasons))
    bins = store.read(flag())
    assert cells(bins) == {(1, "control"): (2, 2, 2)}
    assert facts(bins) == {(1, "excluded_reason", "off"): 1, (1, "excluded_reason", "sdk_default"): 1}


def test_reasons_left_out_can_be_chosen(store):
    audit = flag(exclude_reasons=())
    update(store, log((1, "a", "control"), LATE, evaluation_reason="off"), audit)
    assert cells(store.read(audit)) == {(1, "control"): (1, 1, 1)}


def test_a_rerandomised_phase_counts_first_exposures_anew(store):
    audit = flag(phases=(Phase(start=START + 3 * HOUR, split=SPLIT, rerandomized=True),))
    update(store, log((1, "a", "control"), (4, "a", "treatment"), LATE), audit)
    bins = store.read(audit)
    assert cells(bins) == {(1, "control"): (1, 1, 1), (4, "treatment"): (1, 1, 1)}
    assert bins.fact_total("multi_variant_units") == 0


def test_a_unit_that_changes_with_a_phase_is_carried_over(store):
    audit = flag(phases=(Phase(start=START + 3 * HOUR, split=SPLIT),))
    update(
        store,
        log((1, "a", "control"), (4, "a", "treatment"), (1, "b", "control"), (2, "b", "treatment"), LATE),
        audit,
    )
    bins = store.read(audit)
    assert facts(bins) == {(1, "multi_variant_units", "control"): 2, (1, "carry_over_units", "control"): 1}


def test_a_unit_whose_client_follows_a_phase_within_its_uptake_is_carried_over(store):
    """Of a and b the stale variant is seen in the uptake only; c is served both after it."""
    audit = flag(phases=(Phase(start=START + 2.5 * HOUR, split=SPLIT, uptake="45m"),))
    rows = [(1, "a", "control"), (2.6, "a", "control"), (3.2, "a", "treatment"), (9, "a", "treatment")]
    rows += [(2.6, "b", "control"), (3.3, "b", "treatment"), (3.3, "c", "control"), (4, "c", "treatment")]
    update(store, log(*rows, LATE), audit)
    assert facts(store.read(audit)) == {
        (1, "multi_variant_units", "control"): 1,
        (1, "carry_over_units", "control"): 1,
        (2, "multi_variant_units", "control"): 1,
        (2, "carry_over_units", "control"): 1,
        (3, "multi_variant_units", "control"): 1,
    }


def test_another_uptake_needs_no_new_count(store):
    audit = flag(phases=(Phase(start=START + 2 * HOUR, split=SPLIT, uptake="6h"),))
    update(store, log((1, "a", "control"), (3, "a", "treatment"), (9, "b", "control"), LATE), audit)
    at_once = flag(phases=(Phase(start=START + 2 * HOUR, split=SPLIT, uptake="0m"),))
    assert cells(store.read(at_once)) == cells(store.read(audit))
    again = log((3, "a", "control"), (3, "c", "control"), (9, "b", "control"), LATE)
    update(store, again, at_once, hours=(3, 48), lookback="0m")
    assert sum(new for new, _, _ in cells(store.read(at_once)).values()) == 3


def test_a_phase_may_begin_inside_an_hour(store):
    audit = flag(phases=(Phase(start=START + 1.5 * HOUR, split=SPLIT, rerandomized=True),))
    update(store, log((1.4, "a", "control"), (1.6, "a", "control"), LATE), audit)
    assert cells(store.read(audit)) == {(1, "control"): (2, 1, 2)}


def test_several_environments_and_none_named_is_an_error_that_lists_them(store):
    source = log(
        (1, "a", "control"), (1, "b", "control"), LATE, environment=["production", "staging", "staging"]
    )
    source.loc[len(source)] = {**source.iloc[0].to_dict(), "flag_key": "other"}
    report = update(store, source, flag(), flag("other"))
    assert report.flags[flag().id].error == (
        "flag 'checkout': its records come from 2 environments: 'production', 'staging'; name one with "
        "environment="
    )
    assert report.flags[flag("other").id].error is None


def test_an_environment_seen_in_an_earlier_window_is_remembered(store):
    update(store, log((1, "a", "control"), LATE, environment="production"))
    report = update(store, log((31, "a", "control"), environment="staging"), hours=(30, 32))
    assert "2 environments" in report.flags[flag().id].error


def test_a_named_environment_counts_only_its_own_records(store):
    audit = flag(environment="production", namespace="shop")
    source = log(
        (1, "a", "control"),
        (1, "b", "control"),
        LATE,
        environment=["production", "staging", "production"],
        namespace="shop",
    )
    update(store, source, audit)
    assert cells(store.read(audit)) == {(1, "control"): (1, 1, 1)}


def test_a_flag_that_cannot_be_counted_anew_keeps_what_is_stored(store):
    """Its environment became ambiguous in the same run in which its declaration changed."""
    update(store, log((1, "a", "control"), LATE, environment="production"))
    both = log(
        (1, "a", "control"), (5, "a", "control"), LATE, environment=["production", "staging", "production"]
    )
    assert update(store, both, flag(ignore_variants=("x",))).flags[flag().id].error
    update(store, log((1, "a", "control"), (5, "a", "control"), LATE, environment="production"))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (5, "control"): (0, 1, 1)}
