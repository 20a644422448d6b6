"""The examples run as they are written."""

from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.definitions.schedules import range_tags
from tests.logs import healthy, rows, write

SHARED = Path(__file__).parents[3] / "shared" / "data"


def run_all(
    defs: dg.Definitions, instance: dg.DagsterInstance, last: str | None = None
) -> dg.ExecuteInProcessResult:
    job = defs.resolve_job_def("exd_audit")
    assert job.partitions_def is not None
    keys = job.partitions_def.get_partition_keys()
    tags = range_tags(keys[0], last or keys[-1])
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def test_the_minimal_project_audits_the_logs_of_its_folder(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "logs", rows("new-checkout-flow", healthy(8)))
    from examples.minimal import defs

    dg.Definitions.validate_loadable(defs)
    result = run_all(defs, instance, last="2026-03-01-05:00")
    assert result.success
    verdicts = {c.check_name: c.metadata["verdict"].value for c in result.get_asset_check_evaluations()[1:]}
    assert verdicts["srm"] == "pass"


@pytest.mark.skipif(
    not (SHARED / "ab_exposures_raw.csv").exists(), reason="shared/data/ab_exposures_raw.csv is absent"
)
class TestARealExposureLog:
    """57,828 exposures as found: every line in quotes, the end cut off."""

    @pytest.fixture(scope="class")
    def result(self, tmp_path_factory: pytest.TempPathFactory) -> dg.ExecuteInProcessResult:
        from examples.exposure_log import build

        store = tmp_path_factory.mktemp("landing-page") / "bins.duckdb"
        with dg.DagsterInstance.ephemeral() as instance:
            return run_all(build(str(SHARED / "ab_exposures_raw.csv"), str(store)), instance)

    def test_it_names_the_line_it_cannot_read_and_audits_the_rest(
        self, result: dg.ExecuteInProcessResult
    ) -> None:
        (asked,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "srm"]
        assert asked.metadata["n"].value == 57_498
        assert (
            result.asset_materializations_for_node("exd_variant_bins")[0].metadata["quarantined"].value == 1
        )

    def test_it_has_bins_for_every_hour_of_23_days(self, result: dg.ExecuteInProcessResult) -> None:
        assert len(result.asset_materializations_for_node("exd_variant_bins")) == 23 * 24

    def test_all_three_checks_give_a_verdict(self, result: dg.ExecuteInProcessResult) -> None:
        verdicts = {
            c.check_name: c.metadata["verdict"].value
            for c in result.get_asset_check_evaluations()
            if c.check_name in ("srm", "sequential_srm", "traffic_drop")
        }
        assert verdicts == {"srm": "pass", "sequential_srm": "pass", "traffic_drop": "pass"}
