"""A report's units against those exposed: the exact test, and what the verdict says."""

from math import comb, isclose

import pytest
from scipy.stats import chi2_contingency, fisher_exact, hypergeom

from exd_dagster.stats.reports.kept import arm_p_value, kept_p_value
from exd_dagster.stats.reports.reconcile import NO_ARM, Exposed, ReconcileVerdict, reconcile
from tests.logs import HOUR, START

TABLES = [(30, 50, 80, 100), (0, 40, 7, 90), (5, 5, 9, 12), (480, 500, 470, 500), (3, 1000, 1, 10)]


@pytest.mark.parametrize(("a", "n", "b", "m"), TABLES)
def test_two_arms_agree_with_fishers_exact_test(a: int, n: int, b: int, m: int) -> None:
    p = kept_p_value({"a": n, "b": m}, {"a": a, "b": b})
    assert isclose(p, fisher_exact([[a, n - a], [b, m - b]]).pvalue, rel_tol=1e-9)


@pytest.mark.parametrize(("a", "n", "b", "m"), TABLES)
def test_it_agrees_with_whole_numbers(a: int, n: int, b: int, m: int) -> None:
    held, total = a + b, n + m
    weight = [comb(n, x) * comb(m, held - x) if held - x >= 0 else 0 for x in range(min(held, n) + 1)]
    expected = sum(w for w in weight if w <= weight[a]) / comb(total, held)
    assert isclose(arm_p_value(a, held, n, total), expected, rel_tol=1e-9)


def test_of_many_units_it_agrees_with_chi_square() -> None:
    exposed, kept = {"a": 10_000_000, "b": 10_000_000}, {"a": 3_000_000, "b": 3_003_000}
    table = [[kept[arm], exposed[arm] - kept[arm]] for arm in exposed]
    assert isclose(
        kept_p_value(exposed, kept), chi2_contingency(table, correction=False).pvalue, rel_tol=0.01
    )


def test_of_three_arms_the_worst_counts_three_times() -> None:
    exposed, kept = dict.fromkeys("abc", 1000), {"a": 900, "b": 960, "c": 955}
    worst = 2 * hypergeom(3000, 1000, 2815).cdf(900)
    assert isclose(kept_p_value(exposed, kept), 3 * worst, rel_tol=0.5)


def judged(exposed: dict[str, int], reported: dict[str, int], **options: object) -> ReconcileVerdict:
    of = Exposed(units=exposed, since=START, until=START + 24 * HOUR, several=int(options.pop("several", 0)))  # type: ignore[call-overload]
    return reconcile(of, reported, **{"expects": "sample", "level": 0.001, **options})  # type: ignore[arg-type]


def test_a_sentence_names_what_happened() -> None:
    found = judged({"control": 50_000, "treatment": 50_113}, {"control": 49_950, "treatment": 48_102})
    assert found.failed
    assert found.sentence.startswith("treatment lost 2,011 of 50,113 units (4.01 %), control 0.1 %;")
    assert found.headline == "treatment lost 4.01 % of its units"
    assert "join that drops units" in found.causes[0]


@pytest.mark.parametrize("change", [-1, 1])
def test_where_all_are_expected_a_single_unit_fails(change: int) -> None:
    exposed = {"control": 50_000, "treatment": 50_000}
    assert not judged(exposed, exposed, expects="all").failed
    assert judged(exposed, {**exposed, "treatment": 50_000 + change}, expects="all").failed


def test_a_sample_that_keeps_the_arms_alike_passes() -> None:
    found = judged({"control": 50_000, "treatment": 50_113}, {"control": 15_040, "treatment": 14_990})
    assert (found.verdict, found.state) == ("pass", None)
    assert found.sentence.startswith("The report holds 30 % of 100,113 units, of every arm alike (p = ")


def test_more_units_than_were_exposed_fail_also_in_a_sample() -> None:
    found = judged({"control": 100, "treatment": 100}, {"control": 60, "treatment": 112}, several=3)
    assert found.reason == "more_units"
    assert found.sentence == (
        "treatment has 12 units more than were exposed: control 60 against 100 (-40 %), "
        "treatment 112 against 100 (+12 %)."
    )
    assert "3 units were seen in several arms" in found.causes[1]


def test_where_every_arm_has_more_the_end_is_suspected_first() -> None:
    found = judged({"a": 100, "b": 100}, {"a": 110, "b": 112})
    assert found.causes[0] == "The report counts units first exposed after 2026-03-02 00:00 UTC."


def test_arms_that_lost_alike_point_to_a_filter() -> None:
    found = judged({"a": 1000, "b": 1000}, {"a": 900, "b": 905}, expects="all")
    assert "every arm lost units alike" in found.causes[0]


def test_units_without_an_arm_are_named() -> None:
    found = judged({"a": 1000, "b": 1000}, {"a": 900, "b": 905, NO_ARM: 7})
    assert (found.reason, found.headline) == ("unknown_arm", "7 units of no arm, which nobody was exposed to")


def test_an_empty_report_fails_and_without_exposures_nothing_is_said() -> None:
    assert judged({"a": 10, "b": 10}, {}).reason == "no_unit_reported"
    assert judged({"a": 0, "b": 0}, {}).verdict == "insufficient"
