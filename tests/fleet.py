"""A small project on a real log: flags, their audit, a report behind each, ready to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.schedules import range_tags
from tests.logs import HOUR, START, healthy, rows, write

Counts = Sequence[Mapping[str, int]]


@dataclass
class Fleet:
    """Flags with their hourly counts; `run` executes assets on an instance."""

    folder: Path
    counts: dict[str, Counts]
    mode: str = "block"
    guard: Any = None
    ended: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    store: DuckDBResource | None = None

    def __post_init__(self) -> None:
        self.hours = max(len(counts) for counts in self.counts.values())
        self.flags = [
            FlagAudit(
                key=key,
                split={"control": 0.5, "treatment": 0.5},
                start=START,
                end=START + self.hours * HOUR if self.ended else None,
                mode=self.mode,
            )
            for key in self.counts
        ]
        self.keys = {
            flag.key: key for flag, key in zip(self.flags, bins_asset_keys(self.flags).values(), strict=True)
        }
        self.write()
        audit = build_flag_audit_defs(
            self.flags,
            records=str(self.folder / "log" / "*.parquet"),
            store=self.store or DuckDBResource(database=str(self.folder / "bins.duckdb")),
            **self.options,
        )
        self.reports = [self._report(key) for key in self.counts]
        self.defs = dg.Definitions.merge(audit, dg.Definitions(assets=self.reports))

    def write(self) -> None:
        """Write the log; a heartbeat two hours later closes the last audited hour."""
        heartbeat = rows(
            "heartbeat", healthy(1), start=START + (self.hours + 1) * HOUR + timedelta(minutes=30)
        )
        write(self.folder / "log", *(rows(key, counts) for key, counts in self.counts.items()), heartbeat)

    def _report(self, key: str) -> dg.AssetsDefinition:
        def report() -> None:
            """Stand for what an analyst reads."""

        guarded = self.guard(self.keys[key])(report) if self.guard else report
        return dg.asset(name=self.keys[key].path[-1].replace("_bins", "_report"), deps=[self.keys[key]])(
            guarded
        )

    def job(self, selection: dg.AssetSelection | None = None) -> dg.JobDefinition:
        """Return a job over a selection, by default everything."""
        chosen = selection or dg.AssetSelection.assets(*self.keys.values()).downstream()
        job = dg.define_asset_job("test_job", chosen, executor_def=dg.in_process_executor)
        return dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job])).resolve_job_def("test_job")

    def run(
        self, instance: dg.DagsterInstance, selection: dg.AssetSelection | None = None, *, hours: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run a selection over all hours; failures are results, not exceptions."""
        last = START + (self.hours - 1) * HOUR
        tags = range_tags(f"{START:%Y-%m-%d-%H:%M}", f"{last:%Y-%m-%d-%H:%M}") if hours else {}
        return self.job(selection).execute_in_process(instance=instance, tags=tags, raise_on_error=False)

    @property
    def bins(self) -> dg.AssetSelection:
        """Bins with their checks."""
        return dg.AssetSelection.assets(*self.keys.values())

    @property
    def only_reports(self) -> dg.AssetSelection:
        """The reports alone."""
        return dg.AssetSelection.assets(*self.reports)


def built(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return the last part of the key of everything a run materialized."""
    return {
        event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key
    }


def verdicts(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, str]:
    """Return the verdict of each check of one flag in a run."""
    return {
        check.check_name: str(check.metadata["verdict"].value)
        for check in result.get_asset_check_evaluations()
        if check.asset_key == key and "verdict" in check.metadata
    }
