"""A whole audit whose store is a lake, by workers that keep nothing on their disks."""

import dagster as dg
import pytest

from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.store import DuckLakeResource
from tests.fleet import Fleet, built
from tests.logs import broken, healthy

pytestmark = pytest.mark.lake
HOURS = 6


def test_an_audit_on_a_lake_blocks_and_a_second_worker_reads_its_answers(
    make_lake, tmp_path, s3, monkeypatch
):
    place = make_lake("postgres")
    monkeypatch.setenv("EXD_CATALOG", place.catalog)
    store = DuckLakeResource(catalog=dg.EnvVar("EXD_CATALOG"), data_path=place.data_path)
    fleet = Fleet(tmp_path, {"good": healthy(HOURS), "bad": broken(HOURS)}, store=store)
    with dg.DagsterInstance.ephemeral() as instance:
        result = fleet.run(instance)
        assert built(result) == {"good_bins", "good_report", "bad_bins"}
        page = fleet.run(instance, dg.AssetSelection.assets("flag_trust"), hours=False)
        metadata = page.asset_materializations_for_node("flag_trust")[0].metadata
    assert {key: trust(key, store).standing for key in fleet.keys} == {
        "good": "trusted",
        "bad": "not-trusted",
    }
    assert trust("bad", f"ducklake:{place.catalog}").standing == "not-trusted"
    assert metadata["page"].value == f"{place.data_path.removesuffix('/data')}/flag_trust.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]
