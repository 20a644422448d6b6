"""Two flags of a fleet that share a salt: found from the store, told by the check and on the trust page."""

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.bins.store.shared import select_shared
from exd_dagster.bins.store.store import open_store
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.fleet.collisions import fleet_collisions
from exd_dagster.definitions.schedules import range_tags
from tests.bins.engine_log import in_duckdb
from tests.logs import HOUR, START, healthy, rows, write

HOURS = 4
USERS = 400
SPLIT = {"control": 0.5, "treatment": 0.5}


def exposures(flag: str, bucket: np.ndarray) -> pd.DataFrame:
    """Return one exposure per user, treatment from bucket .5 on."""
    users = np.arange(len(bucket))
    return pd.DataFrame(
        {
            "timestamp": [START + HOUR * HOURS * (user / len(bucket)) for user in users],
            "flag_key": flag,
            "variant_key": np.where(bucket < 0.5, "control", "treatment"),
            "unit_id_hash": [f"user-{user}" for user in users],
            "environment": "production",
        }
    )


def log(folder: Path) -> str:
    """Write flags checkout and search of one salt, and one of its own, of the same users."""
    random = np.random.default_rng(7)
    one, other = random.permutation(USERS) / USERS, random.permutation(USERS) / USERS
    flags = {"checkout": one, "search": one, "pricing": other}
    beat = rows("beat", healthy(1), start=START + (HOURS + 1) * HOUR + HOUR / 2)
    return write(folder / "log", *(exposures(flag, bucket) for flag, bucket in flags.items()), beat)


def audited(folder: Path, instance: dg.DagsterInstance, **of_search: object) -> dg.AssetCheckEvaluation:
    """Audit the fleet and refresh flag_trust; return the fleet's check."""
    options = {"checkout": of_search, "search": of_search, "pricing": {}}
    flags = [FlagAudit(key=key, split=SPLIT, start=START, **more) for key, more in options.items()]
    store = DuckDBResource(database=str(folder / "bins.duckdb"))
    defs = build_flag_audit_defs(flags, log(folder), store)
    tags = range_tags("2026-03-01-00:00", "2026-03-01-03:00")
    defs.resolve_job_def("exd_audit").execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    result = defs.resolve_job_def("exd_flag_trust").execute_in_process(instance=instance)
    return next(c for c in result.get_asset_check_evaluations() if c.check_name == "assignment_collision")


def test_a_shared_salt_is_found_and_told(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    found = audited(tmp_path, instance)
    assert not found.passed
    assert "'checkout' and 'search' do not divide users independently" in str(found.description)
    assert "pricing" not in str(found.description)
    store = tmp_path / "bins.duckdb"
    assert trust("checkout", store).collides_with == ("search",)
    assert trust("pricing", store).collides_with == ()
    page = (tmp_path / "flag_trust.html").read_text()
    assert "<dt>Assignment shared with</dt><dd>search</dd>" in page


def test_flags_of_one_layer_are_not_compared(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    found = audited(tmp_path, instance, layers=["shop"])
    assert found.passed
    assert found.metadata["details"].value["compared"] == 2


def test_flags_counted_in_an_engine_are_said_not_to_be_compared(tmp_path: Path) -> None:
    frame = pd.concat([exposures("checkout", np.arange(50) / 50), exposures("search", np.arange(50) / 50)])
    flags = [FlagAudit(key=key, split=SPLIT, start=START) for key in ("checkout", "search")]
    with open_store(tmp_path / "bins.duckdb") as bins:
        window = {"start": START, "end": START + HOURS * HOUR, "now": START + 24 * HOUR}
        bins.update(in_duckdb(frame), flags, **window)
        found = fleet_collisions(bins, flags)
    assert found.apart == ("checkout", "search")
    assert found.sentence == (
        "No two flags that should be independent share units yet. "
        "Not compared: 2 flags whose units are not in the store."
    )


class TestTheSample:
    """Units that flags share, out of a store."""

    @pytest.fixture(scope="class")
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("sample")
        with open_store(folder / "bins.duckdb") as bins:
            bins.update(log(folder), self.flags(), START, START + HOURS * HOUR, now=START + 24 * HOUR)
        return folder / "bins.duckdb"

    def flags(self, **more: object) -> list[FlagAudit]:
        return [
            FlagAudit(key=key, split=SPLIT, start=START, **more) for key in ("checkout", "search", "pricing")
        ]

    def test_it_holds_each_first_exposure(self, store: Path) -> None:
        with open_store(store) as bins:
            found = bins.shared_units(self.flags())
        assert (len(found.units), found.quarter) == (3 * USERS, 0)
        assert sorted({name[2] for name in found.names}) == ["control", "treatment"]

    def test_a_smaller_sample_is_part_of_a_larger_one(self, store: Path) -> None:
        with open_store(store) as bins:
            found = [select_shared(bins._connection, self.flags(), most) for most in (400, 100)]
        assert [sample.quarter for sample in found] == [1, 2]
        assert 0 < len(found[1].units) < len(found[0].units) < 3 * USERS / 2

    def test_exposures_of_an_earlier_iteration_and_of_an_uptake_are_left_out(self, tmp_path: Path) -> None:
        again = Phase(start=START + 2 * HOUR, split=SPLIT, rerandomized=True, uptake="30m")
        with open_store(tmp_path / "again.duckdb") as bins:
            flags = self.flags(phases=[again])
            bins.update(log(tmp_path), flags, START, START + HOURS * HOUR, now=START + 24 * HOUR)
            found = bins.shared_units(flags)
        assert {phase for _, phase, _ in found.names} == {1}
        assert abs(len(found.units) - 3 * USERS * 3 / 8) <= 3
