"""The Dagster side: daemons alive, schedule and sensors running, settings that an audit needs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, warn
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.definitions.internals import InstanceFacts

PROVEN = ("1.13",)
"""Minor versions of Dagster that the contract tests were run on."""

DEAD_AFTER = timedelta(minutes=5)
"""A daemon without a heartbeat for this long is taken for dead; it beats every 30 s."""


def diagnose_instance(facts: InstanceFacts, plans: Sequence[AuditPlan], now: datetime) -> list[Diagnosis]:
    """Diagnose the instance that runs these fleets."""
    return [
        diagnose_daemons(facts, now),
        *(diagnosis for plan in plans for diagnosis in diagnose_switches(facts, plan, now)),
        *diagnose_settings(facts),
    ]


def diagnose_daemons(facts: InstanceFacts, now: datetime) -> Diagnosis:
    """Check the heartbeat of every daemon."""
    start = "start it: dagster dev here, dagster-daemon run in production"
    never = sorted(name for name, beat in facts.daemons.items() if beat is None)
    stopped = sorted(
        name for name, beat in facts.daemons.items() if beat is not None and now - beat > DEAD_AFTER
    )
    if len(never) == len(facts.daemons):
        return fail(
            "daemon", "no daemon ever ran on this instance: nothing is audited and no alert is sent", start
        )
    if never or stopped:
        last = max(beat for beat in facts.daemons.values() if beat is not None)
        names = ", ".join([*never, *stopped])
        return fail(
            "daemon", f"no heartbeat of {names}; the last of any was {last:%Y-%m-%d %H:%M} UTC", start
        )
    if facts.errors:
        name, error = next(iter(facts.errors.items()))
        return warn("daemon", f"{name} reports: {error}", "see the daemon's log")
    return ok("daemon", f"{len(facts.daemons)} daemons running")


def diagnose_switches(facts: InstanceFacts, plan: AuditPlan, now: datetime) -> list[Diagnosis]:
    """Check that each schedule and sensor of a fleet runs."""
    if all(flag.end is not None and flag.end <= now for flag in plan.flags):
        return [ok("schedule", f"{plan.name}: every flag has ended, nothing needs to run")]
    stopped = [name for name, starts in plan.running.items() if not facts.switches.get(name, starts)]
    if not stopped:
        return [ok("schedule", f"running: {', '.join(plan.running)}")]
    return [
        fail("schedule", f"{name} is stopped", f"switch {name} on, on the Automation page of the UI")
        for name in stopped
    ]


def diagnose_settings(facts: InstanceFacts) -> list[Diagnosis]:
    """Check the settings in dagster.yaml."""
    found = []
    if not facts.run_monitoring:
        said = "run monitoring is off: a run whose process is lost remains started for ever"
        fix = "in dagster.yaml: run_monitoring: {enabled: true, max_runtime_seconds: 3600}"
        found.append(warn("settings", said, fix))
    if facts.retries_failed_checks:
        said = "a run that failed a check is retried, and fails again"
        fix = "in dagster.yaml: run_retries: {retry_on_asset_or_op_failure: false}"
        found.append(warn("settings", said, fix))
    for pool, limit in facts.pool_limits.items():
        if limit == 1:
            continue
        said = f"the pool {pool} lets {limit or 'any number of'} steps write the bin store at once"
        fix = "in dagster.yaml: concurrency: {pools: {default_limit: 1}}"
        found.append(warn("settings", said, fix))
    return found or [ok("settings", "run monitoring on, failed checks not retried, one writer at a time")]


def diagnose_version(version: str) -> Diagnosis:
    """Check that the contract tests were run on this version of Dagster."""
    minor = ".".join(version.split(".")[:2])
    if minor in PROVEN:
        return ok("dagster", f"version {version}")
    said = f"version {version} was not tested; tested: {', '.join(PROVEN)}"
    return warn(
        "dagster",
        said,
        "install a tested one, or run the contract tests: pytest tests/definitions/test_internals.py",
    )
