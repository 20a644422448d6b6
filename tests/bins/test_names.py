"""Names that a configuration uses and the log does not: found on files and on an engine, kept, and told."""

import pytest

from exd_dagster.audit import audit
from exd_dagster.config import Thresholds
from exd_dagster.stats.audit import audit_flag
from tests.bins.conftest import HOUR, NOW, START, flag, log, update
from tests.bins.engine_log import COLUMNS, in_duckdb

ROWS = [(hour, f"u{hour}", ("control", "treatment")[hour % 2]) for hour in range(40)]
PLACES = ["files", "engine"]


def audited(store, place, declared, hours=(0, 40), **columns):
    """Count a log of checkout, and return the audit of the flag as it is declared."""
    given = {"environment": "production", "namespace": "shop", "country": "DE", **columns}
    table, kinds = log(*ROWS, **given), {**COLUMNS, "namespace": "string"}
    update(store, in_duckdb(table, kinds) if place == "engine" else table, declared, hours=hours)
    return audit(declared, store.read(declared), Thresholds(), now=NOW)


MISNAMED = [
    ({"key": "Check Out"}, "flag 'Check Out'", "'checkout' (40 records): correct key="),
    ({"key": "chekout"}, "flag 'chekout'", "'checkout' (40 records): correct key="),
    (
        {"environment": "Production"},
        "environment 'Production'",
        "'production' (40 records)",
    ),
    ({"namespace": "SHOP"}, "namespace 'SHOP'", "'shop' (40 records): correct namespace="),
    ({"include": {"country": ["de"]}}, "country 'de' of include", "'DE' (40 records): correct include="),
    ({"key": "search-ranking"}, "flag 'search-ranking'", "nor has a name like it: correct key="),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("changes", "named", "fix"), MISNAMED)
def test_a_flag_that_was_never_counted_is_not_checked_and_says_which_name_to_correct(
    store, place, changes, named, fix
):
    done = audited(store, place, flag(**changes))
    for verdict in (*done.verdicts[:3], done.trust):
        assert verdict.verdict == "not_checked"
        assert named in verdict.sentence
        assert fix in verdict.sentence
    assert not done.trust.trusted


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_only_a_blocking_flag_holds_reports_back_when_nothing_was_counted(store, mode):
    done = audited(store, "files", flag("Checkout", mode=mode))
    assert done.trust.trusted
    assert done.trust.verdict == "not_checked"


def test_what_was_found_is_kept_when_later_hours_are_read(store):
    first = audited(store, "files", flag("CHECKOUT"), hours=(0, 30))
    assert audited(store, "files", flag("CHECKOUT"), hours=(30, 40)).notes == first.notes != ()


def test_a_flag_whose_records_come_after_all_is_checked(store):
    declared = flag("CHECKOUT")
    audited(store, "files", declared)
    late = log(*ROWS, environment="production")
    late["flag_key"] = "CHECKOUT"
    update(store, late, declared, hours=(0, 40))
    done = audit(declared, store.read(declared), Thresholds(), now=NOW)
    assert done.trust.sentence.startswith("Trusted so far: sequential_srm passes")
    assert done.notes == ()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"include": {"country": ["DE", "fr"]}}, "country 'fr' of include"),
        ({"exclude": {"country": ["Us"]}}, "country 'Us' of exclude"),
        ({"ignore_variants": ("Hold-Out",)}, "ignore_variants 'Hold-Out'"),
        ({"exclude_reasons": ("killswitch",)}, "exclude_reasons 'killswitch'"),
    ],
)
def test_a_value_that_was_never_seen_is_told_and_changes_no_verdict(store, place, changes, said):
    done = audited(store, place, flag(**changes))
    (note,) = done.notes
    assert said in note
    assert done.trust.trusted
    assert done.verdicts[1].verdict == "pass"


def test_values_that_were_seen_are_not_told(store):
    declared = flag(include={"country": ["DE"]}, environment="production", ignore_variants=("holdout",))
    rows = log(*ROWS, (39, "h", "holdout"), country="DE", environment="production")
    update(store, rows, declared, hours=(0, 40))
    assert store.read(declared).unmatched == ()


def test_a_value_that_shows_later_is_no_longer_told(store):
    declared = flag(include={"country": ["DE", "fr"]})
    update(store, log(*ROWS[:30], country="DE"), declared, hours=(0, 30))
    assert store.read(declared).unmatched
    update(store, log(*ROWS, country=["DE"] * 35 + ["fr"] * 5), declared, hours=(30, 40))
    assert store.read(declared).unmatched == ()


def test_a_declared_variant_spelt_otherwise_in_the_log_is_named(store):
    declared = flag(split={"control": 0.5, "Treatment": 0.5})
    update(store, log(*ROWS), declared, hours=(0, 40))
    done = audit(declared, store.read(declared), Thresholds(), now=NOW)
    assert done.notes == (
        "variant 'Treatment' has no record in this log; "
        "the log holds 'treatment' (19 records): correct split=",
    )


def test_a_flag_whose_every_record_is_left_out_says_for_what(store):
    declared = flag()
    update(store, log(*ROWS, evaluation_reason="ERROR"), declared, hours=(0, 40))
    srm = audit_flag(declared, store.read(declared)).srm
    assert "no record of flag 'checkout' counts: 38 left out for their reason (ERROR)" in srm.sentence


def test_a_flag_without_a_closed_hour_and_an_empty_log_say_something_else(store):
    declared = flag("later", start=START + 39.5 * HOUR)
    update(store, log(*ROWS), declared, hours=(0, 40))
    assert audit_flag(declared, store.read(declared)).srm.reason == "no_closed_hour"


def test_a_flag_that_showed_units_and_is_silent_now_is_a_matter_of_traffic(store):
    declared = flag()
    update(store, log(*ROWS[:10], (39, "x", "control")), declared, hours=(0, 40))
    assert audit_flag(declared, store.read(declared)).srm.verdict == "insufficient"
