"""Flags whose `trust` checks answer as told, and reports of every make that know nothing of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

import exd_dagster as exd
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.catalog import flag_names

FLAGS = [FlagAudit(key=key, start="2026-03-01") for key in ("checkout", "search")]
BINS = dict(zip(("checkout", "search"), bins_asset_keys(FLAGS).values(), strict=True))
AUDITED = dg.DailyPartitionsDefinition("2026-03-02", end_date="2026-03-05")
ALL_AUDITED = {
    "dagster/asset_partition_range_start": "2026-03-02",
    "dagster/asset_partition_range_end": "2026-03-04",
}
DAYS = dg.DailyPartitionsDefinition("2026-03-01", end_date="2026-03-05")


@dataclass
class Told:
    """What the `trust` check of each flag says next, and the runs of the project.

    Attributes:
        instance: the Dagster instance.
        failing: metadata of the failure of each flag that is not trusted.
    """

    instance: dg.DagsterInstance
    failing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def audit(self) -> dg.Definitions:
        """Bins of both flags with their checks."""
        return dg.Definitions(
            assets=[self._bins(key) for key in BINS], asset_checks=[self._trust(flag) for flag in FLAGS]
        )

    def _bins(self, flag: str) -> dg.AssetsDefinition:
        @dg.asset(key=BINS[flag], partitions_def=AUDITED, backfill_policy=dg.BackfillPolicy.single_run())
        def bins() -> None: ...

        return bins

    def _trust(self, flag: FlagAudit) -> dg.AssetChecksDefinition:
        key = BINS[flag.key]
        spec = dg.AssetCheckSpec("trust", asset=key, blocking=True, metadata=flag_names(flag.id))

        @dg.multi_asset_check(name=f"{flag.key}_trust", specs=[spec], can_subset=True)
        def trust() -> Iterator[dg.AssetCheckResult]:
            failure = self.failing.get(flag.key)
            told = {"sentence": f"{flag.key} is broken.", "failing": ["srm"], **(failure or {})}
            yield dg.AssetCheckResult(
                passed=failure is None,
                asset_key=key,
                check_name="trust",
                metadata=told if failure is not None else {},
            )

        return trust

    def protected(self, *assets: Any, by: dict[Any, list[str]], **options: Any) -> dg.Definitions:
        """The audit and these assets, protected."""
        return exd.protect(dg.Definitions.merge(self.audit(), dg.Definitions(assets=assets)), by, **options)

    def judge(self, defs: dg.Definitions) -> None:
        """Build all bins and run their checks."""
        selection = dg.AssetSelection.assets(*BINS.values())
        self.run(defs, selection, ALL_AUDITED)

    def run(
        self, defs: dg.Definitions, selection: Any, tags: dict[str, str] | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        """Run a selection; failures are results."""
        job = dg.define_asset_job("run", selection, executor_def=dg.in_process_executor, **options)
        return (
            dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
            .resolve_job_def("run")
            .execute_in_process(instance=self.instance, raise_on_error=False, tags=tags or {})
        )

    def build(
        self, defs: dg.Definitions, *keys: str, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Build reports alone, as a person does."""
        wanted = [dg.AssetKey.from_user_string(key) for key in keys]
        return self.run(defs, dg.AssetSelection.assets(*wanted) - dg.AssetSelection.all_asset_checks(), tags)


def built(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return what a run materialized."""
    return {e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key}


def refusal(result: dg.ExecuteInProcessResult) -> str:
    """Return why a step failed; "" where none did."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            return str(event.step_failure_data.user_failure_data.description)
    return ""
