"""Answered failures judged again with other settings: what they would have avoided, and what missed."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.audit.rejudge import Read, Tried, best_setting, candidates
from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks import CHECKS
from tests.logs import HOUR, START, rows, write

HOURS = 48
SPLIT = {"control": 0.5, "treatment": 0.5}


def hourly(share: float) -> list[dict[str, int]]:
    """Forty units an hour, of which this share is in control."""
    return [{"control": round(40 * share), "treatment": 40 - round(40 * share)}] * HOURS


COUNTS = {"mild": hourly(0.45), "broken": hourly(0.2), "healthy": hourly(0.5)}
"""The first is near today's level of srm, the second far beyond every level."""
FLAGS = {
    audit.id: audit
    for audit in (FlagAudit(key=key, split=SPLIT, start=START, end=START + HOURS * HOUR) for key in COUNTS)
}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    beat = rows("beat", [{"a": 1}], start=START + (HOURS + 2) * HOUR)
    log = write(tmp_path / "log", *(rows(key, counts) for key, counts in COUNTS.items()), beat)
    store = BinStore(duckdb.connect())
    store.update(log, list(FLAGS.values()), START, START + HOURS * HOUR, now=START + (HOURS + 3) * HOUR)

    def both(flag: FlagAudit):
        bins = store.read(flag)
        return bins, store.segments(flag, bins)

    return both


def failure(key: str, verdict: str, check: str = "srm", hours: int = HOURS) -> LedgerRow:
    (flag,) = [flag for flag in FLAGS if flag.key == key]
    end = START + hours * HOUR
    return LedgerRow(
        incident=f"{key}-{hours}", flag=flag, check=check, opened_at=end, audited_through=end, verdict=verdict
    )


def tried(read: Read, *found: LedgerRow, check: str = "srm") -> Tried:
    best = best_setting(check, found, FLAGS, Thresholds(), read)
    assert best is not None
    return best


def test_the_mildest_setting_that_avoids_the_false_failure_and_misses_no_real_one(read: Read) -> None:
    best = tried(read, failure("mild", "false"), failure("broken", "real"))
    assert (best.avoided, best.false, best.missed, best.real) == (1, 1, 0, 1)
    (mild,) = [flag for flag in FLAGS.values() if flag.key == "mild"]
    bins = read(mild)[0]
    avoids = {
        setting: audit_flag(mild, bins, levels, checks=[CHECKS["srm"]]).blocking == ()
        for setting, levels in candidates("srm", Thresholds())
    }
    assert best.setting == next(setting for setting, avoided in avoids.items() if avoided)


def test_a_real_failure_that_a_setting_would_miss_is_counted(read: Read) -> None:
    best = tried(read, failure("mild", "false"), replace(failure("mild", "real"), incident="other"))
    assert (best.avoided, best.missed, best.real) in [(1, 1, 1), (0, 0, 1)]


def test_of_a_fault_that_is_no_matter_of_levels_no_setting_avoids_any(read: Read) -> None:
    assert tried(read, failure("broken", "false")).avoided == 0


def test_a_failure_that_the_corrected_bins_do_not_give_again_is_left_out_and_counted(read: Read) -> None:
    assert tried(read, failure("broken", "false"), failure("healthy", "false")).gone == 1


def test_where_nothing_can_be_judged_again_nothing_is_said(read: Read) -> None:
    for found in ([], [failure("healthy", "false")], [failure("broken", "real")]):
        assert best_setting("srm", found, FLAGS, Thresholds(), read) is None


@pytest.mark.parametrize(
    "check", ["srm", "sequential_srm", "segment_srm", "traffic_drop", "segment_traffic", "variant_integrity"]
)
def test_every_setting_to_try_differs_from_today_and_is_one_that_thresholds_take(check: str) -> None:
    found = candidates(check, Thresholds())
    assert len(found) >= 3
    for setting, thresholds in found:
        table, name = setting.partition(" ")[0].split(".")
        assert Thresholds(**{table: {name: getattr(getattr(thresholds, table), name)}}) == thresholds
        assert thresholds != Thresholds()
        assert np.isfinite(getattr(getattr(thresholds, table), name))


@pytest.mark.parametrize("check", ["reconcile_mild", "stage_srm"])
def test_a_check_without_a_setting_is_not_tried(read: Read, check: str) -> None:
    found = [failure("mild", "false", check=check)]
    assert best_setting(check, found, FLAGS, Thresholds(), read) is None
