"""Stale manifests and units in several variants: judged against stated levels, never against chance."""

import json
from datetime import datetime, timezone

import numpy as np
import pytest

from exd_dagster.bins.model import Fact, Facts, FlagBins
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.stats.checks.variant_integrity import variant_integrity
from exd_dagster.stats.checks.version_skew import version_counts, version_skew

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
FLAG = FlagAudit(key="f", split={"control": 0.5, "treatment": 0.5}, start=START)


def bins(units=(5000, 5000), variants=("control", "treatment"), **facts) -> FlagBins:
    counts = np.array([units], dtype=np.int64)
    return FlagBins(
        FLAG.id,
        variants,
        START,
        counts,
        counts,
        counts,
        np.array([True]),
        Facts.of(Fact(START, name, "", count) for name, count in facts.items()),
    )


def test_documented_example_lies_within_two_versions_and_passes():
    verdict = version_skew({13: 1_184_422, 12: 178_109, 11: 8_221}, Thresholds())
    assert (verdict.verdict, verdict.newest, verdict.behind, verdict.code) == ("pass", 13, 0, None)


def test_evaluations_beyond_the_level_are_t004_and_a_warning():
    verdict = version_skew({13: 900, 10: 100}, Thresholds())
    assert (verdict.verdict, verdict.severity, verdict.code, verdict.behind) == ("fail", "WARN", "T004", 100)


def test_records_without_a_version_are_skipped():
    assert version_skew({}, Thresholds()).verdict == "skipped"


def test_versions_are_counted_over_hours_most_frequent_first():
    facts = Facts.of(
        Fact(START, "manifest_version", detail, count)
        for detail, count in (("42", 5), ("43", 20), ("42", 6), ("beta", 9))
    )
    one = bins()
    several = FlagBins(
        one.flag, one.variants, START, one.new_units, one.units, one.evaluations, one.delivered, facts
    )
    assert list(version_counts(several).items()) == [(43, 20), (42, 11)]


@pytest.mark.parametrize(
    ("units_in_both", "expected"),
    [
        (0, ("pass", None)),
        (9, ("pass", None)),
        (10, ("fail", "WARN")),
        (99, ("fail", "WARN")),
        (100, ("fail", "ERROR")),
    ],
)
def test_units_in_several_variants_warn_from_a_tenth_percent_and_fail_from_one(units_in_both, expected):
    verdict = variant_integrity(FLAG, bins(multi_variant_units=units_in_both), Thresholds())
    assert (verdict.verdict, verdict.severity) == expected


def test_units_carried_over_a_declared_phase_are_not_judged():
    facts = {"multi_variant_units": 500, "carry_over_units": 495}
    verdict = variant_integrity(FLAG, bins(**facts), Thresholds())
    assert (verdict.verdict, verdict.multi_variant_units, verdict.carry_over_units) == ("pass", 5, 495)


def test_undeclared_variant_is_named():
    verdict = variant_integrity(
        FLAG, bins((4900, 4900, 200), ("control", "treatment", "ghost")), Thresholds()
    )
    assert (verdict.verdict, verdict.reason) == ("fail", "undeclared_variant")
    assert "undeclared ghost" in verdict.sentence


def test_without_a_declared_split_no_variant_is_undeclared():
    flag = FlagAudit(key="f", start=START)
    assert variant_integrity(flag, bins(), Thresholds()).undeclared_units == {}


def test_no_units_is_insufficient_not_healthy():
    assert variant_integrity(FLAG, bins((0, 0)), Thresholds()).verdict == "insufficient"


def test_metadata_is_strict_json():
    verdicts = (version_skew({13: 9, 1: 1}, Thresholds()), variant_integrity(FLAG, bins(), Thresholds()))
    for verdict in verdicts:
        json.dumps(verdict.as_metadata(), allow_nan=False)
