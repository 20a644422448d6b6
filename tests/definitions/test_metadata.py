"""What stands on an asset's page and beside a verdict."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from exd_dagster.bins.model import Fact, Facts, FlagBins
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.definitions.checks import check_keys
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.definitions.metadata import bins_metadata, escape_markdown, split_table, verdict_metadata
from exd_dagster.stats import sequential_srm_test, srm_test, traffic_drop_test
from exd_dagster.stats.verdict import Verdict
from tests.fleet import Fleet
from tests.logs import HOUR, broken

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
EVEN = {"control": 0.5, "treatment": 0.5}


def bins_of(flag: FlagAudit, counts: object) -> FlagBins:
    units = np.asarray(counts, np.int64)
    variants = (*flag.variants, "stray")[: units.shape[1]]
    return FlagBins(flag.id, variants, START, units, units, units, np.ones(len(units), bool))


def rows(table: dg.TableMetadataValue) -> list[tuple[object, ...]]:
    return [tuple(record.data.values()) for record in table.records]


def test_the_table_sets_declared_against_observed() -> None:
    table = split_table(EVEN, {"control": 527, "treatment": 473})
    assert rows(table) == [("control", "50 %", "52.7 %", 527), ("treatment", "50 %", "47.3 %", 473)]


def test_a_variant_nobody_declared_is_in_the_table_as_such() -> None:
    assert rows(split_table({"control": 1.0}, {"control": 90, "stray": 10}))[-1] == (
        "stray",
        "not declared",
        "10 %",
        10,
    )


def test_a_declared_variant_without_units_is_in_the_table() -> None:
    assert rows(split_table(EVEN, {"control": 10}))[-1] == ("treatment", "50 %", "0 %", 0)
    assert rows(split_table(EVEN, {}))[0] == ("control", "50 %", "no unit yet", 0)


def test_the_page_of_the_bins_shows_a_sparkline_and_the_split_of_the_current_iteration() -> None:
    again = Phase(
        start=START + timedelta(hours=10), split={"control": 0.9, "treatment": 0.1}, rerandomized=True
    )
    flag = FlagAudit(key="checkout", split=EVEN, start=START, phases=(again,))
    shown = bins_metadata(flag, bins_of(flag, [[50, 50, 0]] * 11 + [[9, 0, 1]] * 10))
    assert rows(shown["split"]) == [
        ("control", "90 %", "90 %", 90),
        ("treatment", "10 %", "0 %", 0),
        ("stray", "not declared", "10 %", 10),
    ]
    assert len(shown["traffic"].value) < 1_000


def test_a_ramp_is_compared_with_what_its_phases_expect_and_a_stopped_arm_with_0_percent() -> None:
    ramp = Phase(start=START + 10 * HOUR, split={"control": 0.5, "treatment": 0.5}, uptake="0m")
    stop = Phase(start=START + 20 * HOUR, split={"control": 1.0}, uptake="0m")
    flag = FlagAudit(key="f", split={"control": 0.9, "treatment": 0.1}, start=START, phases=(ramp, stop))
    bins = bins_of(flag, [[90, 10]] * 10 + [[50, 50]] * 10)
    assert rows(bins_metadata(flag, bins)["split"]) == [
        ("control", "70 %", "70 %", 1400),
        ("treatment", "30 %", "30 %", 600),
    ]
    verdict = srm_test({"control": 900, "treatment": 100}, {"control": 1.0, "treatment": 0.0})
    assert rows(verdict_metadata(verdict)["split"])[-1] == ("control", "100 %", "90 %", 900)


def test_bins_without_an_hour_have_a_table_and_no_sparkline() -> None:
    flag = FlagAudit(key="checkout", split=EVEN, start=START)
    assert set(bins_metadata(flag, bins_of(flag, np.zeros((0, 2))))) == {"split"}


def test_the_facts_of_the_present_iteration_are_summed_by_name() -> None:
    again = Phase(start=START + 10 * HOUR, split=EVEN, rerandomized=True)
    flag = FlagAudit(key="checkout", split=EVEN, start=START, phases=(again,))
    seen = [(1, "null_units", "control", 9), (11, "null_units", "control", 2), (12, "null_units", "stray", 1)]
    seen.append((12, "late_rows", "", 4))
    facts = Facts.of(Fact(START + hour * HOUR, *rest) for hour, *rest in seen)
    shown = bins_metadata(flag, replace(bins_of(flag, [[5, 5]] * 20), facts=facts))
    assert shown["facts"].value == {"null_units": 3, "late_rows": 4}


def test_a_p_value_too_small_for_a_float_still_has_a_place_in_a_trend() -> None:
    srm = verdict_metadata(srm_test({"control": 10**7, "treatment": 0}, EVEN))
    assert srm["neg_log10_p"] == pytest.approx(323.3, abs=0.1)
    sequential = verdict_metadata(sequential_srm_test([[10**6, 0]], EVEN))
    assert sequential["neg_log10_p"] > 100_000


def test_the_largest_ratio_is_that_of_the_variant_that_got_most_of_its_share() -> None:
    shown = verdict_metadata(srm_test({"control": 527, "treatment": 473}, EVEN))
    assert shown["max_ratio"] == pytest.approx(1.054)


def test_a_traffic_verdict_shows_the_share_of_the_expected_volume() -> None:
    shown = verdict_metadata(traffic_drop_test([100] * 400))
    assert shown["volume_ratio"] == pytest.approx(1.0)
    assert set(verdict_metadata(traffic_drop_test([100] * 5))) == set()


def test_a_verdict_without_numbers_has_nothing_to_show() -> None:
    assert verdict_metadata(Verdict(check="trust", verdict="pass")) == {}


def test_what_a_check_shows_can_be_reported_in_an_alert_as_strict_json(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(6)})
    result = fleet.run(instance)
    (srm,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "srm"]
    assert isinstance(srm.metadata["split"], dg.TableMetadataValue)
    records, _ = latest_checks(instance, list(check_keys(fleet.keys["bad"]).values()))
    assert len(records) == len(check_keys(fleet.keys["bad"]))
    for record in records:
        json.dumps(dict(record.metadata), allow_nan=False)


@pytest.mark.parametrize("name", ["<img src=x>", "[a](http://b)", "*bold*", "`x`", "a_b", "$m$", "~~no~~"])
def test_foreign_text_stays_text_in_markdown(name: str) -> None:
    escaped = escape_markdown(name)
    assert escaped.replace("\\", "") == name
    assert all(escaped[i - 1] == "\\" for i, c in enumerate(escaped) if c in "`*_[]<>#|~$")


def test_foreign_text_stays_on_its_line() -> None:
    assert escape_markdown("a\r\n\n- b") == "a - b"


def test_the_rows_to_act_on_come_first_rounded_and_everything_is_in_one_json(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(6)})
    checks = {c.check_name: c.metadata for c in fleet.run(instance).get_asset_check_evaluations()}
    shown = checks["srm"]
    assert list(shown)[:5] == ["verdict", "state", "bad_from", "usable_until", "split"]
    assert list(shown)[-1] == "details"
    assert shown["chi_square"].value == 222.6
    whole = shown["details"].data
    assert whole["chi_square"] == pytest.approx(222.585, abs=1e-3)
    assert {"effect_interval", "method", "sentence", "namespace"} <= set(whole) - set(shown)
    assert max(len(rows) for rows in checks.values()) <= 20


def test_what_is_read_back_of_a_check_is_not_rounded(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(6)})
    fleet.run(instance)
    records, _ = latest_checks(instance, [check_keys(fleet.keys["bad"])["srm"]])
    assert records[0].metadata["chi_square"] == pytest.approx(222.585, abs=1e-3)
    assert "details" not in records[0].metadata
