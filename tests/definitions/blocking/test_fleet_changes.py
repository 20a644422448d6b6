"""Flags come and go: what was recorded of the others stays as it was."""

from pathlib import Path

import dagster as dg
import duckdb
import pytest

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_partitions
from exd_dagster.definitions.checks import trust_key
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.definitions.schedules import range_tags
from tests.fleet import Fleet, verdicts
from tests.logs import HOUR, START, broken, healthy

HOURS = 4
SPLIT = {"control": 0.5, "treatment": 0.5}


def history(fleet: Fleet, instance: dg.DagsterInstance, flag: str) -> tuple[object, ...]:
    """Return what an instance knows of a flag: its partitions built, and its answer."""
    key = fleet.keys[flag]
    ((record,), _) = latest_checks(instance, [trust_key(key)])
    return instance.get_materialized_partitions(key), record


def test_a_new_flag_leaves_the_history_of_the_others(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    before = Fleet(tmp_path, {"old": healthy(HOURS)})
    before.run(instance)
    known = history(before, instance, "old")
    after = Fleet(tmp_path, {"new": broken(HOURS), "old": healthy(HOURS)})
    after.run(instance, dg.AssetSelection.assets(after.keys["new"]))
    assert history(after, instance, "old") == known


def test_a_flag_that_starts_earlier_renames_no_partition(tmp_path: Path) -> None:
    late = FlagAudit(key="late", split=SPLIT, start=START, end=START + 9 * HOUR)
    early = FlagAudit(key="early", split=SPLIT, start=START - 9 * HOUR, end=START)
    alone, together = (bins_partitions(flags).get_partition_keys() for flags in ([late], [early, late]))
    assert together[-len(alone) :] == alone


class TestARetiredFlag:
    """It was audited, and is no longer in the list."""

    @pytest.fixture(scope="class")
    def left(self, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
        folder = tmp_path_factory.mktemp("retired")
        with dg.DagsterInstance.ephemeral() as instance:
            before = Fleet(folder, {"gone": broken(HOURS), "kept": healthy(HOURS)})
            before.run(instance, before.bins)
            fleet = Fleet(folder, {"kept": healthy(HOURS)})
            fleet.run(instance, dg.AssetSelection.assets("flag_trust"), hours=False)
        return fleet

    def test_keeps_its_last_row_in_sql(self, left: Fleet) -> None:
        with duckdb.connect(str(left.folder / "bins.duckdb"), read_only=True) as connection:
            found = connection.execute("SELECT flag_key, trusted FROM flag_trust ORDER BY 1").fetchall()
        assert found == [("gone", False), ("kept", True)]

    def test_is_on_the_page_no_more(self, left: Fleet) -> None:
        page = (left.folder / "flag_trust.html").read_text()
        assert 'id="kept"' in page
        assert 'id="gone"' not in page


def test_hours_and_days_give_the_same_answers(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """A fleet that grows beyond fifty flags changes from hours to days over the same store."""
    hours = Fleet(tmp_path, {"bad": broken(24)}, options={"grain": "hour"})
    reported = verdicts(hours.run(instance, hours.bins), hours.keys["bad"])
    days = Fleet(tmp_path, {"bad": broken(24)}, options={"grain": "day"})
    result = days.job(days.bins).execute_in_process(
        instance=instance, tags=range_tags("2026-03-01", "2026-03-01"), raise_on_error=False
    )
    assert verdicts(result, days.keys["bad"]) == reported
