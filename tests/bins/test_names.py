"""Names that a configuration uses and the log does not: found on files and engines, stored and reported."""

from unittest.mock import patch

import pandas as pd
import pytest

from exd_dagster.audit.flag import audit
from exd_dagster.bins.store.reading import names
from exd_dagster.config import Phase, Thresholds
from exd_dagster.stats.audit import audit_flag
from exd_dagster.telemetry.manifest.read import flags_from_manifest
from tests.bins.conftest import HOUR, NOW, SPLIT, START, flag, log, update
from tests.bins.engine_log import COLUMNS
from tests.telemetry.manifests import rollout

ROWS = [(hour, f"u{hour}", ("control", "treatment")[hour % 2]) for hour in range(40)]
PLACES = ["files", "engine", pytest.param("postgres", marks=pytest.mark.engines)]
END = START + 24 * HOUR


def phase(hour, **changes):
    return Phase(start=START + hour * HOUR, split=SPLIT, **changes)


def audited(store, give, place, declared, hours=(0, 40), **columns):
    """Count a log of checkout, and return the audit of the flag as it is declared."""
    given = {"environment": "production", "namespace": "shop", "country": "DE", **columns}
    table, kinds = log(*ROWS, score=None, **given), {**COLUMNS, "namespace": "string"}
    update(store, give(place, table, kinds), declared, hours=hours)
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
    store, records_of, place, changes, named, fix
):
    done = audited(store, records_of, place, flag(**changes))
    for verdict in (*done.verdicts[:3], done.trust):
        assert verdict.verdict == "not_checked"
        assert named in verdict.sentence
        assert fix in verdict.sentence
    assert not done.trust.trusted


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("column", ["namespace", "environment"])
def test_a_log_without_namespaces_or_environments_says_that_it_has_none(store, records_of, place, column):
    declared = flag(**{column: "shop"})
    table = log(*ROWS)
    update(store, records_of(place, table), declared, hours=(0, 40))
    srm = audit_flag(declared, store.read(declared)).srm
    assert f"this log, which names no {column} (40 records): leave {column}= out" in srm.sentence


@pytest.mark.parametrize(("most", "reported"), [(3, ["fr"]), (2, [])])
def test_of_a_column_with_more_values_than_are_asked_for_none_is_called_missing(store, most, reported):
    countries = ["DE", "AT"] * (len(ROWS) // 2)
    declared = flag(include={"country": ["DE", "fr"]})
    with patch.object(names, "MOST_NAMES", most):
        update(store, log(*ROWS, country=countries), declared, hours=(0, 40))
    assert [each.name for each in store.read(declared).unmatched] == reported


@pytest.mark.parametrize("place", PLACES)
def test_what_was_never_seen_is_still_reported_when_later_hours_are_read(store, records_of, place):
    table = log(*ROWS, country="DE")
    source = records_of(place, table)
    declared = flag(
        include={"country": ["DE", "fr"]}, exclude_reasons=("killswitch",), dimensions=("contry", "score")
    )
    update(store, source, declared, hours=(0, 30))
    first = store.read(declared).unmatched
    update(store, source, declared, hours=(30, 40))
    assert len(first) == 4
    assert store.read(declared).unmatched == first


@pytest.mark.parametrize("place", PLACES)
def test_a_dimension_that_is_named_later_is_looked_for_without_counting_anew(store, records_of, place):
    table = log(*ROWS, country="DE")
    source = records_of(place, table)
    update(store, source, flag(), hours=(0, 30))
    declared = flag(dimensions=("Contry", "country"))
    update(store, source, declared, hours=(30, 40))
    assert [(u.place, u.name, u.nearest) for u in store.read(declared).unmatched] == [
        ("dimensions", "Contry", "country")
    ]


@pytest.mark.parametrize("place", PLACES)
def test_a_phase_without_a_unit_is_reported_with_the_hour_it_was_tested_up_to(store, records_of, place):
    rows = [row for row in ROWS if not 20 <= row[0] < 30]
    other = log(*ROWS)
    other["flag_key"] = "other"
    table = pd.concat([log(*rows), other])
    declared = flag(phases=(phase(20), phase(30)))
    update(store, records_of(place, table), declared, hours=(0, 40))
    done = audit(declared, store.read(declared), Thresholds(), now=NOW)
    assert done.notes == (
        "the phase of 2026-03-01 20:00 UTC has no unit up to 2026-03-02 06:00 UTC: correct phases=",
    )


@pytest.mark.parametrize("place", PLACES)
def test_flags_of_a_manifest_that_the_log_never_shows_name_the_nearest(store, records_of, place, tmp_path):
    rollout(tmp_path / "shop")
    (declared,) = flags_from_manifest(tmp_path / "shop", environment="production", start=START)
    table = log(*ROWS, environment="production", namespace="shop")
    table["flag_key"] = "new_checkout"
    kinds = {**COLUMNS, "namespace": "string"}
    update(store, records_of(place, table, kinds), declared, hours=(0, 40))
    trust = audit(declared, store.read(declared), Thresholds(), now=NOW).trust
    assert "flag 'new-checkout' has no record in this log; the log holds 'new_checkout'" in trust.sentence


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_only_a_blocking_flag_holds_reports_back_when_nothing_was_counted(store, records_of, mode):
    done = audited(store, records_of, "files", flag("Checkout", mode=mode))
    assert done.trust.trusted
    assert done.trust.verdict == "not_checked"


def test_what_was_found_is_kept_when_later_hours_are_read(store, records_of):
    first = audited(store, records_of, "files", flag("CHECKOUT"), hours=(0, 30))
    assert audited(store, records_of, "files", flag("CHECKOUT"), hours=(30, 40)).notes == first.notes != ()


def test_a_flag_whose_records_come_after_all_is_checked(store, records_of):
    declared = flag("CHECKOUT")
    audited(store, records_of, "files", declared)
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
        ({"dimensions": ("contry",)}, "'contry' is no column of this log; the log has 'country'"),
        ({"dimensions": ("zzz",)}, "'zzz' is no column of this log: correct dimensions="),
        ({"dimensions": ("score",)}, "'score' has no value in any record of this flag"),
        ({"phases": (phase(60),)}, "the phase of 2026-03-03 12:00 UTC has not begun: the log is audited"),
        ({"phases": (phase(30),), "end": END}, "begins after the flag's end, 2026-03-02 00:00 UTC"),
    ],
)
def test_a_value_that_was_never_seen_is_reported_and_changes_no_verdict(
    store, records_of, place, changes, said
):
    done = audited(store, records_of, place, flag(**changes))
    (note,) = done.notes
    assert said in note
    assert done.trust.trusted
    assert done.verdicts[1].verdict == "pass"


def test_values_that_were_seen_are_not_reported(store):
    declared = flag(include={"country": ["DE"]}, environment="production", ignore_variants=("holdout",))
    rows = log(*ROWS, (39, "h", "holdout"), country="DE", environment="production")
    update(store, rows, declared, hours=(0, 40))
    assert store.read(declared).unmatched == ()


def test_a_value_that_shows_later_is_no_longer_reported(store):
    declared = flag(include={"country": ["DE", "fr"]})
    update(store, log(*ROWS[:30], country="DE"), declared, hours=(0, 30))
    assert store.read(declared).unmatched
    update(store, log(*ROWS, country=["DE"] * 35 + ["fr"] * 5), declared, hours=(30, 40))
    assert store.read(declared).unmatched == ()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["Treatment", "treatmnt"])
def test_a_declared_variant_spelt_otherwise_in_the_log_is_named(store, records_of, place, name):
    declared = flag(split={"control": 0.5, name: 0.5})
    update(store, records_of(place, log(*ROWS)), declared, hours=(0, 40))
    done = audit(declared, store.read(declared), Thresholds(), now=NOW)
    assert done.notes == (
        f"variant '{name}' has no record in this log; the log holds 'treatment' (19 records): correct split=",
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
