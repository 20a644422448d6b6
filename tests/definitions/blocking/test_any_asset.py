"""`build_flag_audit_checks` on assets that are not ours, and what passes through to Dagster."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import STORE_POOL, build_variant_bins_assets
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.checks import build_flag_audit_checks
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.definitions.store import BinStoreResource
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.sources.duckdb import as_records
from tests.fleet import built
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 4
FLAG = FlagAudit(key="checkout", split={"control": 0.5, "treatment": 0.5}, start=START)
HOURLY = dg.HourlyPartitionsDefinition("2026-03-01-00:00", end_date="2026-03-01-04:00")


def store(folder: Path) -> DuckDBResource:
    return DuckDBResource(database=str(folder / "bins.duckdb"))


def run(
    folder: Path,
    instance: dg.DagsterInstance,
    upstream: Any,
    *,
    asset: Any = None,
    selection: dg.AssetSelection | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run the checks of a broken flag on `asset`, and a report behind it."""
    beat = rows("beat", healthy(1), start=START + (HOURS + 2) * HOUR)
    log = write(folder / "log", rows("checkout", broken(HOURS)), beat)
    checks = build_flag_audit_checks(FLAG, asset=upstream if asset is None else asset, records=log)
    (key,) = {check.asset_key for check in checks.check_keys}

    @dg.asset(deps=[key])
    def report() -> None: ...

    job = dg.define_asset_job(
        "run",
        selection or dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        executor_def=dg.in_process_executor,
    )
    defs = dg.Definitions(
        assets=[upstream, report],
        asset_checks=[checks],
        jobs=[job],
        resources={"exd_store": BinStoreResource(duckdb=store(folder))},
    )
    return defs.resolve_job_def("run").execute_in_process(
        instance=instance, raise_on_error=False, tags=tags or {}
    )


def answer(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [check for check in result.get_asset_check_evaluations() if check.check_name == name]
    return found


def test_an_asset_that_dagster_does_not_build_blocks_what_reads_it(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """As a model that dbt Cloud builds: only its spec is in the project."""
    model = dg.AssetSpec(["dbt", "orders"])
    reading = dg.AssetSelection.assets("report") | dg.AssetSelection.checks_for_assets(model.key)
    result = run(tmp_path, instance, model, selection=reading)
    assert not answer(result, "trust").passed
    assert built(result) == set()


def test_one_key_of_a_multi_asset_is_blocked_and_the_other_is_not(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("orders"), dg.AssetSpec("visits")])
    def dbt_project():
        yield dg.MaterializeResult(asset_key="orders")
        yield dg.MaterializeResult(asset_key="visits")

    assert built(run(tmp_path, instance, dbt_project, asset="orders")) == {"orders", "visits"}


def test_a_multi_asset_as_a_whole_is_refused_with_the_way_out(tmp_path: Path) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("orders"), dg.AssetSpec("visits")])
    def dbt_project(): ...

    with pytest.raises(ConfigError, match=r"has several assets: orders, visits; give the key of one"):
        build_flag_audit_checks(FLAG, asset=dbt_project, records="log/*.parquet")


def test_a_partitioned_asset_has_the_hours_of_the_run_judged(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    @dg.asset(partitions_def=HOURLY, backfill_policy=dg.BackfillPolicy.single_run())
    def orders() -> None: ...

    hours = range_tags("2026-03-01-00:00", "2026-03-01-03:00")
    result = run(tmp_path, instance, orders, tags=hours)
    assert built(result) == {"orders"}
    assert answer(result, "srm").metadata["audited_through"].value == "2026-03-01T04:00:00Z"


def test_run_again_the_attached_checks_give_the_same_answer(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    model = dg.AssetSpec("orders")
    said = [
        answer(run(tmp_path, instance, model), "trust").metadata["details"].data["sentence"] for _ in range(2)
    ]
    assert said[0] == said[1]


def test_attached_checks_may_run_by_themselves(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    log = write(tmp_path / "log", rows("checkout", healthy(HOURS)))
    checks = build_flag_audit_checks(
        FLAG, asset="orders", records=log, automation_condition=dg.AutomationCondition.eager()
    )
    orders = dg.AssetSpec("orders")
    defs = dg.Definitions(
        [orders], asset_checks=[checks], resources={"exd_store": BinStoreResource(duckdb=store(tmp_path))}
    )
    first = dg.evaluate_automation_conditions(defs, instance)
    instance.report_runless_asset_event(dg.AssetMaterialization("orders"))
    after = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert (first.total_requested, after.total_requested) == (0, len(list(checks.check_keys)))


class TestWhatPassesThrough:
    """Attributes of assets and ops that Dagster or a launcher reads."""

    FLAGS = (
        FLAG,
        FlagAudit(key="search", split=FLAG.split, start=START, owners=["team:search"], mode="warn"),
    )

    def defs(self, **options: Any) -> dg.Definitions:
        return build_flag_audit_defs(
            self.FLAGS, records="log/*.parquet", store=DuckDBResource(database="bins.duckdb"), **options
        )

    def spec(self, defs: dg.Definitions, *path: str) -> dg.AssetSpec:
        (found,) = [s for s in defs.resolve_all_asset_specs() if s.key == dg.AssetKey(list(path))]
        return found

    def test_attributes_for_every_flag(self) -> None:
        condition = dg.AutomationCondition.on_cron("0 4 * * *")
        defs = self.defs(
            asset_attributes={
                "tags": {"tier": "1"},
                "automation_condition": condition,
                "owners": ["team:all"],
            }
        )
        spec = self.spec(defs, "experiments", "checkout_bins")
        assert (spec.tags, spec.owners) == ({"tier": "1", **spec.tags}, ["team:all"])
        assert spec.automation_condition == condition

    def test_attributes_for_one_flag(self) -> None:
        defs = self.defs(asset_attributes=lambda flag: {"group_name": f"squad_{flag.key}"})
        assert self.spec(defs, "experiments", "checkout_bins").group_name == "squad_checkout"
        assert self.spec(defs, "experiments", "search_bins").group_name == "squad_search"

    def test_metadata_is_added_to_what_tells_whose_bins_they_are(self) -> None:
        defs = self.defs(asset_attributes={"metadata": {"runbook": "wiki/flags"}})
        metadata = self.spec(defs, "experiments", "checkout_bins").metadata
        assert (metadata["flag"], metadata["runbook"]) == ("checkout", "wiki/flags")

    def test_a_flags_owners_own_its_bins(self) -> None:
        assert self.spec(self.defs(), "experiments", "search_bins").owners == ["team:search"]

    def test_max_age_and_attributes_go_together(self) -> None:
        defs = self.defs(max_age=timedelta(days=2), asset_attributes={"tags": {"tier": "1"}})
        spec = self.spec(defs, "experiments", "checkout_bins")
        assert spec.freshness_policy is not None
        assert spec.tags["tier"] == "1"

    def test_key_prefix_group_and_grain(self) -> None:
        spec = self.spec(self.defs(key_prefix=["lab"], group_name="lab", grain="day"), "lab", "checkout_bins")
        assert spec.group_name == "lab"
        assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)

    @pytest.mark.parametrize("pool", [STORE_POOL, "other_file"])
    def test_every_op_that_writes_the_store_is_in_one_pool(self, pool: str) -> None:
        defs = self.defs() if pool == STORE_POOL else self.defs(pool=pool)
        writers = ("exd_variant_bins", "experiments_checkout_bins_checks", "flag_trust")
        repository = defs.get_repository_def()
        nodes = {node.name: node for node in repository.get_implicit_global_asset_job_def().nodes}
        assert {nodes[name].definition.pool for name in writers} == {pool}

    def test_op_tags_reach_bins_and_checks(self) -> None:
        defs = self.defs(op_tags={"dagster-k8s/size": "big"})
        nodes = {n.name: n for n in defs.get_repository_def().get_implicit_global_asset_job_def().nodes}
        for name in ("exd_variant_bins", "experiments_checkout_bins_checks"):
            assert nodes[name].definition.tags["dagster-k8s/size"] == "big"

    def test_a_fleets_mode_holds_for_flags_without_one_of_their_own(self) -> None:
        defs = self.defs(mode="observe")
        modes = [
            self.spec(defs, "experiments", f"{key}_bins").metadata["mode"] for key in ("checkout", "search")
        ]
        assert modes == ["observe", "warn"]

    def test_an_unknown_mode_is_a_fault_with_the_choices(self) -> None:
        with pytest.raises(ConfigError, match=r"mode: .*observe.*warn.*block"):
            self.defs(mode="watch")


def test_bins_alone_pass_pool_and_tags_through() -> None:
    bins = build_variant_bins_assets(
        [FLAG], as_records("log/*.parquet"), pool="other_file", op_tags={"size": "big"}
    )
    assert (bins.op.pool, bins.op.tags["size"]) == ("other_file", "big")
