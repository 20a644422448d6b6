"""Run the demo: write records, audit them through Dagster, deliver the alerts, read back what happened."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import dagster as dg

from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.component.scaffold import DAGSTER_YAML, workspace_yaml
from exd_dagster.definitions.internals import watch_run
from exd_dagster.demo.data import FLAGS, SEED, write_records
from exd_dagster.demo.inbox import Inbox

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""

CHECKED = ("srm", "sequential_srm", "traffic_drop", "segment_srm")
TICKS = 20
"""Sensor ticks at most; one is enough unless a destination is slow."""


@dataclass(frozen=True, slots=True)
class FlagOutcome:
    """The verdicts of one flag, the segment without which it is usable, and whether its report was built."""

    key: str
    verdicts: Mapping[str, str]
    segment: str
    report: str
    n: int
    declared: Mapping[str, float]
    observed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """One alert as one destination received it."""

    channel: str
    flag: str
    alert_type: str
    status: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of the demo, as in `summary.json`."""

    flags: tuple[FlagOutcome, ...]
    deliveries: tuple[DeliveryOutcome, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the verdicts, reports and deliveries as strict JSON."""
        return {
            "flags": {
                flag.key: {**flag.verdicts, "usable_without": flag.segment, "report": flag.report}
                for flag in self.flags
            },
            "deliveries": [asdict(delivery) for delivery in self.deliveries],
        }


def run_demo(home: Path, folder: Path, progress: Progress) -> Summary:
    """Do the whole job once; a second run does it again and sends nothing twice.

    Args:
        home: folder with dagster.yaml; `dagster dev` started there shows the result.
        folder: where records, bins, reports and the inbox go.
        progress: called with each step.
    """
    write_demo_records(folder, progress)
    prepare_home(home)
    with Inbox(folder / "inbox") as inbox:
        os.environ.update(inbox.environment(), EXD_DEMO_FOLDER=str(folder))
        from exd_dagster.demo import project

        started = utc_now()
        with dg.DagsterInstance.from_config(str(home)) as instance:
            result = audit(project.defs, instance, progress)
            deliver(project.defs, instance, progress)
            execute(project.defs, "exd_flag_trust", instance)
            summary = summarise(result, instance, started)
    (folder / "summary.json").write_text(json.dumps(summary.as_json(), indent=2) + "\n")
    return summary


def write_demo_records(folder: Path, progress: Progress) -> None:
    """Write the records unless a complete set is there: the same seed would give the same ones."""
    complete = folder / "records" / f"complete-{SEED}"
    if not complete.exists():
        shutil.rmtree(folder / "records", ignore_errors=True)
        data = write_records(
            folder / "records",
            progress=lambda done, total: progress("writing evaluation records", done, total),
        )
        complete.write_text(f"{data.records}\n")


def prepare_home(home: Path) -> None:
    """Give a folder without an instance the demo's dagster.yaml and workspace.yaml."""
    workspace = workspace_yaml("exd_dagster.demo.project", location="exd_demo")
    for name, text in {"dagster.yaml": DAGSTER_YAML, "workspace.yaml": workspace}.items():
        if not (home / name).exists():
            (home / name).write_text(text, encoding="utf-8")


def audit(
    defs: dg.Definitions, instance: dg.DagsterInstance, progress: Progress
) -> dg.ExecuteInProcessResult:
    """Run bins, checks and reports of all partitions as one ranged run."""
    from exd_dagster.definitions.schedules import range_tags

    job = defs.resolve_job_def("audit_and_report")
    keys = job.partitions_def.get_partition_keys() if job.partitions_def else []
    total, run_id = len(keys) * len(FLAGS), str(uuid4())
    done = 0

    def count(event: Any) -> None:
        nonlocal done
        done += event.is_dagster_event and event.get_dagster_event().is_step_materialization
        progress("auditing through Dagster", min(done, total), total)

    watch_run(instance, run_id, count)
    return execute(defs, job.name, instance, run_id=run_id, tags=range_tags(keys[0], keys[-1]))


def execute(
    defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    """Run a job in process, with its log in the instance only."""
    quiet_loggers = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, run_config=quiet_loggers, raise_on_error=False, **options
    )


def deliver(defs: dg.Definitions, instance: dg.DagsterInstance, progress: Progress) -> None:
    """Let the alert sensor tick until nothing is left to send."""
    from exd_dagster.definitions.alerting.sensor import deliveries, run_alert_sensor

    sensor = next(sensor for sensor in defs.sensors or () if sensor.name == "exd_check_alerts")
    for tick in range(TICKS):
        progress("delivering alerts", tick + 1, TICKS)
        with quiet():
            run_alert_sensor(sensor, instance, defs)
        if all(delivery.status in ("sent", "already_sent", "dead") for delivery in deliveries(instance)):
            progress("delivering alerts", TICKS, TICKS)
            return


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Dagster's log lines out of the demo's own output; they stay in the instance."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def summarise(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, started: datetime) -> Summary:
    """Read verdicts, reports and deliveries back from Dagster."""
    from exd_dagster.definitions.alerting.sensor import deliveries
    from exd_dagster.demo.project import KEYS, report_key

    built = {event.asset_key for event in result.get_asset_materialization_events()}
    checks = {(check.asset_key, check.check_name): check for check in result.get_asset_check_evaluations()}
    outcomes = []
    for flag in FLAGS:
        key = KEYS[flag.id]
        srm = checks[key, "srm"].metadata
        outcomes.append(
            FlagOutcome(
                key=flag.key,
                verdicts={name: str(checks[key, name].metadata["verdict"].value) for name in CHECKED},
                segment=_usable_without(checks[key, "segment_srm"].metadata),
                report="built" if report_key(key) in built else "blocked",
                n=int(str(srm["n"].value)),
                declared=flag.split or {},
                observed=srm["observed"].value,  # type: ignore[arg-type]
            )
        )
    sent = [
        DeliveryOutcome(row.channel, row.flag.key, row.alert_type, row.status)
        for row in deliveries(instance, since=started)
    ]
    return Summary(tuple(outcomes), tuple(sent))


def _usable_without(metadata: Mapping[str, Any]) -> str:
    found = metadata.get("usable_without")
    return ", ".join(found.value) if found is not None else ""
