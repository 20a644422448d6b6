"""The bins assets: keys, partitions, one scan for any subset, and one bad flag that stops nobody."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_asset_keys, bins_partitions
from exd_dagster.errors import ConfigError
from tests.fleet import Fleet, built
from tests.logs import START, broken, healthy, rows, write

SPLIT = {"control": 0.5, "treatment": 0.5}


def flag(key: str, **more: object) -> FlagAudit:
    return FlagAudit(**{"key": key, "split": SPLIT, "start": START, **more})


def path(*flags: FlagAudit) -> list[str]:
    return ["/".join(key.path) for key in bins_asset_keys(flags).values()]


def test_a_key_names_prefix_scope_and_flag() -> None:
    named = flag("new-checkout", namespace="shop", environment="production")
    assert path(named) == ["experiments/shop/production/new_checkout_bins"]
    assert path(flag("new-checkout")) == ["experiments/new_checkout_bins"]


def test_flags_that_would_share_a_key_are_told_apart() -> None:
    first, second = path(flag("a-b"), flag("a_b"))
    assert first == "experiments/a_b_bins"
    assert second.startswith("experiments/a_b_")
    assert second != first


def test_adding_a_flag_renames_no_other() -> None:
    assert path(flag("a-b"))[0] == path(flag("a-b"), flag("a_b"))[0]


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True))
def test_any_names_give_distinct_keys_that_dagster_accepts(names: list[str]) -> None:
    keys = bins_asset_keys([flag(name) for name in names])
    assert len(set(keys.values())) == len(names)
    for key in keys.values():
        assert dg.AssetSpec(key).key == key
        assert all(part.replace("_", "").isalnum() and part.isascii() for part in key.path)


def test_the_same_flag_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        bins_asset_keys([flag("a"), flag("a")])


def test_no_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one FlagAudit"):
        bins_partitions([])


def test_partitions_are_hours_up_to_fifty_flags_and_days_above() -> None:
    few, many = [flag("a")], [flag(f"f{i}") for i in range(51)]
    assert isinstance(bins_partitions(few), dg.HourlyPartitionsDefinition)
    assert isinstance(bins_partitions(many), dg.DailyPartitionsDefinition)


def test_partitions_begin_with_the_earliest_flag_and_end_with_the_last() -> None:
    early = flag("a", start=START, end=START + timedelta(hours=5))
    late = flag("b", start=START + timedelta(hours=2), end=START + timedelta(hours=30, minutes=20))
    keys = bins_partitions([late, early]).get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == ("2026-03-01-00:00", "2026-03-02-06:00", 31)


def test_a_flag_without_an_end_keeps_the_partitions_open() -> None:
    assert bins_partitions([flag("a", end=START + timedelta(hours=5)), flag("b")]).end is None


def test_a_subset_builds_only_what_is_selected(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"one": healthy(3), "two": healthy(3)})
    assert built(fleet.run(instance, dg.AssetSelection.assets(fleet.keys["two"]))) == {"two_bins"}


class TestAFlagThatCannotBeBuilt:
    """A flag whose records lie in two environments, none named."""

    @pytest.fixture
    def result(self, tmp_path: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        fleet = Fleet(tmp_path, {"good": healthy(3), "torn": healthy(3)})
        elsewhere: pd.DataFrame = rows("torn", healthy(1), environment="staging")
        write(tmp_path / "log", elsewhere, name="staging")
        return fleet.run(instance)

    def test_stops_no_other_flag(self, result: dg.ExecuteInProcessResult) -> None:
        assert built(result) == {"good_bins", "good_report"}

    def test_is_not_materialized_and_its_report_is_not_built(self, result: dg.ExecuteInProcessResult) -> None:
        assert not {"torn_bins", "torn_report"} & built(result)

    def test_does_not_fail_the_run(self, result: dg.ExecuteInProcessResult) -> None:
        assert result.success

    def test_says_why_and_lists_the_environments(self, result: dg.ExecuteInProcessResult) -> None:
        checks = {
            c.asset_key.path[-1]: c
            for c in result.get_asset_check_evaluations()
            if c.check_name == "bins_built"
        }
        assert checks["good_bins"].passed
        assert not checks["torn_bins"].passed
        said = str(checks["torn_bins"].description)
        assert said.startswith("Not checked:")
        assert "production" in said
        assert "staging" in said


def test_materializing_again_changes_no_verdict(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(3)})

    def told() -> dict[str, object]:
        checks = fleet.run(instance, fleet.bins).get_asset_check_evaluations()
        return {c.check_name: c.metadata["sentence"].value for c in checks if "sentence" in c.metadata}

    assert told() == told()
