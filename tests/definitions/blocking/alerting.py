"""Hourly bins whose `trust` check returns a set verdict, with a report downstream."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

BINS = dg.AssetKey(["experiments", "checkout_bins"])
TRUST = dg.AssetCheckKey(BINS, "trust")
HOURS = dg.HourlyPartitionsDefinition("2026-03-01-00:00", end_date="2026-03-01-06:00")
ALL_HOURS = {
    "dagster/asset_partition_range_start": "2026-03-01-00:00",
    "dagster/asset_partition_range_end": "2026-03-01-05:00",
}


@dataclass
class AlertingSetup:
    """What the next run of the check will say, and the runs.

    Attributes:
        instance: the Dagster instance.
        guard: decorator of the report.
        automation: condition of the report.
        passed: the next answer; None: the check crashes.
        severity: of a failure.
        partitions: of the bins.
        metadata: further metadata of the answer.
    """

    instance: dg.DagsterInstance
    guard: Any = None
    automation: Any = None
    passed: bool | None = True
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    partitions: dg.PartitionsDefinition | None = HOURS
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        @dg.asset(key=BINS, partitions_def=self.partitions, backfill_policy=dg.BackfillPolicy.single_run())
        def bins() -> None: ...

        @dg.asset_check(asset=BINS, name="trust", blocking=True)
        def trust() -> dg.AssetCheckResult:
            if self.passed is None:
                raise RuntimeError("planted")
            return dg.AssetCheckResult(
                passed=self.passed, severity=self.severity, metadata={"sentence": "said.", **self.metadata}
            )

        def report() -> None: ...

        guarded = self.guard(report) if self.guard else report
        self.bins, self.trust = bins, trust
        self.report = dg.asset(name="report", deps=[BINS], automation_condition=self.automation)(guarded)
        self.defs = dg.Definitions(assets=[bins, self.report], asset_checks=[trust])
        self.cursor: Any = None

    def build(self) -> None:
        """Materialize the bins of all hours and leave their check out."""
        dg.materialize([self.bins], instance=self.instance, tags=ALL_HOURS if self.partitions else {})

    def audit(self) -> None:
        """Materialize the bins of all hours, then run their check."""
        self.build()
        self.check()

    def check(self) -> None:
        """Run the check alone."""
        selection = dg.AssetSelection.checks(TRUST)
        job = dg.define_asset_job("check", selection, executor_def=dg.in_process_executor)
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        defs.resolve_job_def("check").execute_in_process(instance=self.instance, raise_on_error=False)

    def read(self) -> dg.ExecuteInProcessResult:
        """Build the report by hand."""
        return dg.materialize([self.report], instance=self.instance, raise_on_error=False)

    def asked(self, **options: Any) -> int:
        """Evaluate the automation once and return how many times the report was asked for."""
        outcome = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor, **options)
        self.cursor = outcome.cursor
        return outcome.get_num_requested(self.report.key)
