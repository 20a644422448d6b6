"""A remembered failure quotes the numbers it was made from, with when, and today's beside them."""

from datetime import timedelta

import numpy as np
import pytest

from exd_dagster.alerts.messages import words
from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.plots.split import split_plot
from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.methods.chi_square import chi_square, upper_tail
from tests.stats import build
from tests.stats.build import START

HOUR = timedelta(hours=1)
FLAG = FlagAudit(key="checkout", split={"a": 0.5, "b": 0.5}, start=START)


def bins_of(*periods: tuple[int, dict[str, int]]) -> FlagBins:
    """Hours with the same counts, period after period."""
    variants = sorted({name for _, counts in periods for name in counts})
    rows = [[counts.get(name, 0) for name in variants] for hours, counts in periods for _ in range(hours)]
    return build.bins_of(np.array(rows), variants)


def audited(*periods: tuple[int, dict[str, int]], flag: FlagAudit = FLAG) -> FlagVerdicts:
    return audit_flag(flag, bins_of(*periods))


DILUTED = ((24, {"a": 60, "b": 40}), (24, {"a": 40, "b": 60}), (240, {"a": 50, "b": 50}))


def test_the_sentence_quotes_the_look_that_failed_and_today():
    srm = audited(*DILUTED).srm
    assert srm.failed
    assert srm.remembered
    by = srm.detected_at
    hours = int((by - START) / HOUR)
    n, b = 100 * hours, 40 * hours
    assert (srm.failed_n, srm.failed_observed) == (n, {"a": n - b, "b": b})
    p = float(upper_tail(chi_square(np.array([n - b, b]), np.array([0.5, 0.5])), 1))
    assert srm.failed_p_value == pytest.approx(p)
    assert srm.sentence.startswith(
        f"SRM: b got 40 % of {n:,} units by {by:%Y-%m-%d %H:%M} UTC, 50 % declared (p = {p:.2g}); "
        "by now 50 % of 28,800"
    )


def test_the_contracts_names_hold_todays_numbers():
    srm = audited(*DILUTED).srm
    assert (srm.observed, srm.n) == ({"a": 14400, "b": 14400}, 28800)
    assert srm.p_value == pytest.approx(1.0)
    assert srm.as_metadata()["failed_observed"] == srm.failed_observed


def test_a_failure_that_todays_numbers_bear_out_quotes_those():
    srm = audited((72, {"a": 60, "b": 40})).srm
    assert not srm.remembered
    assert srm.sentence.startswith("SRM: b got 40 % of 7,200 units, 50 % declared (p < 1e-10)")


def test_a_failure_carried_over_a_phase_quotes_what_was_declared_by_then():
    later = Phase(start=START + 48 * HOUR, split=FLAG.split)
    phases = (Phase(start=START, split={"a": 0.9, "b": 0.1}), later)
    flag = FlagAudit(key="checkout", phases=phases, start=START, uptake="0m")
    srm = audited((24, {"a": 80, "b": 20}), (24, {"a": 100}), (240, {"a": 50, "b": 50}), flag=flag).srm
    assert srm.remembered
    assert srm.failed_expected == pytest.approx({"a": 0.9, "b": 0.1})
    assert "10 % declared" in srm.sentence
    assert "by now" in srm.sentence


def test_undeclared_variants_that_were_too_many_once_are_quoted_with_when():
    srm = audited((24, {"a": 20, "b": 20, "c": 1}), (2400, {"a": 20, "b": 20})).srm
    assert srm.severity == "ERROR"
    assert srm.remembered
    by = srm.detected_at
    assert f"; by {by:%Y-%m-%d %H:%M} UTC it was 2.44 % of 451 units, which failed." in srm.sentence


def test_a_fault_of_the_past_quotes_its_own_hours_and_today():
    even = (96, {"a": 50, "b": 50})
    drift = audited(even, (24, {"a": 70, "b": 30}), even).sequential_srm
    assert drift.state == "contained"
    assert "b got 30 % of units from" in drift.sentence
    assert drift.sentence.endswith("by now 47.8 % of 21,600 units.")
    assert drift.failed_n < drift.n


def test_a_drop_of_the_past_says_until_when():
    week = (168, {"a": 50, "b": 50})
    drop = audited(week, week, (6, {"a": 5, "b": 5}), (12, {"a": 50, "b": 50})).traffic_drop
    assert drop.state == "contained"
    assert drop.sentence.endswith("from 2026-03-15 00:00 UTC to 2026-03-15 06:00 UTC.")


def test_headline_table_and_statistics_of_a_message_are_those_of_the_look_that_failed():
    facts = audited(*DILUTED).srm.as_metadata()
    n = facts["failed_n"]
    assert words.key_fact("srm", facts) == "b 40% vs 50% expected"
    assert words.split_rows(facts)[1] == ("b", "50%", "40%", f"{0.4 * n:,.0f}", "50%", "14,400")
    assert words.split_header(facts)[2].startswith("by 2026-03-01")
    said = dict(words.statistics(facts))
    assert (said["n then"], said["n now"]) == (f"{n:,}", "28,800")
    assert said["p then"].startswith(f"{facts['failed_p_value']:.2g} (limit ")
    assert said["p now"].startswith("1.000")


def test_the_picture_says_what_failed_and_when():
    bins = bins_of(*DILUTED)
    srm = audit_flag(FLAG, bins).srm
    assert f"failed by {srm.detected_at:%Y-%m-%d %H:%M} UTC: b 40 % of" in split_plot(bins, FLAG, srm)
    today = audit_flag(FLAG, bins_of((72, {"a": 60, "b": 40}))).srm
    assert "failed by" not in split_plot(bins_of((72, {"a": 60, "b": 40})), FLAG, today)
