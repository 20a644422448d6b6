"""`exd-dagster doctor`: check the setup of a project."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
import dagster as dg

from exd_dagster.alerts.messages.words import count
from exd_dagster.alerts.model import AlertState
from exd_dagster.cli.doctor.alerts import diagnose_alerts
from exd_dagster.cli.doctor.data import diagnose_data
from exd_dagster.cli.doctor.decisions import diagnose_decisions
from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, worst
from exd_dagster.cli.doctor.instance import diagnose_instance, diagnose_version
from exd_dagster.cli.doctor.manifest import diagnose_manifest
from exd_dagster.cli.project import load_fleets, module_option, open_instance
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.sensor import alert_plans
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.decisions.asset import load_decisions, report_checks, unmonitored_flags
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.fleet.plan import AuditPlan, audit_plans, clashes
from exd_dagster.definitions.internals import instance_facts
from exd_dagster.errors import ConfigError

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Check the setup of an audit project.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Compare the declared splits with it.")
@click.option("--environment", help="Environment in the manifest, for flags that name none.")
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True)
@module_option
def doctor(manifest: Path | None, environment: str | None, shape: str, module: str | None) -> int:
    """Check records, flags, store, instance, schedule, sensors, destinations and versions.

    Changes nothing and sends nothing. Exits with 1 if a check fails.
    """
    now = utc_now()
    diagnoses = examine(module, now)
    if manifest is not None:
        flags = [flag for plan in audit_plans() for flag in plan.flags]
        diagnoses += diagnose_manifest(manifest, environment, flags, now)
    verdict = worst(diagnoses)
    if shape == "json":
        report = {"verdict": verdict, "diagnoses": [asdict(diagnosis) for diagnosis in diagnoses]}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for diagnosis in diagnoses:
            click.echo(as_text(diagnosis))
    return int(verdict == "fail")


def examine(module: str | None, now: datetime) -> list[Diagnosis]:
    """Return every diagnosis of a project, in the order the data flows."""
    try:
        plans = load_fleets(module)
    except ConfigError as error:
        return [fail("project", "; ".join(error.faults), "run it where workspace.yaml is, or give -m MODULE")]
    flags = count(sum(len(plan.flags) for plan in plans), "flag")
    found = [ok("project", f"{', '.join(plan.name for plan in plans)}: {flags}")]
    for said, _, fix in (fault.partition("; ") for fault in clashes(plans)):
        found.append(fail("project", said, fix))
    for plan in plans:
        found += diagnose_data(plan, now)
    states, pools = {}, dict.fromkeys(plan.pool for plan in plans)
    try:
        with open_instance() as instance:
            found += diagnose_instance(instance_facts(instance, *pools), plans, now)
            states = load_states(instance)
            found += [line for plan in plans for line in _decisions(instance, plan, now)]
    except ConfigError as error:
        found.append(
            fail("instance", "; ".join(error.faults), "write one with exd-dagster init, or set DAGSTER_HOME")
        )
    return [*found, *_alerts(plans, states, now), diagnose_version(dg.__version__)]


def _decisions(instance: dg.DagsterInstance, plan: AuditPlan, now: datetime) -> list[Diagnosis]:
    left = unmonitored_flags(instance, FleetNames(plan.name).alert_sensor)
    flags = (flag.id for flag in plan.flags)
    reports = report_checks(
        key for each in alert_plans() if each.fleet == plan.name for key in each.monitored
    )
    return diagnose_decisions(load_decisions(instance, plan.name), [*flags, *left], now, reports)


def _alerts(plans: list[AuditPlan], states: dict[str, AlertState], now: datetime) -> list[Diagnosis]:
    ours = {name for plan in plans for name in plan.running}
    return [
        diagnosis
        for plan in alert_plans()
        if plan.name in ours
        for diagnosis in diagnose_alerts(plan, states.get(plan.name), now)
    ]


def as_text(diagnosis: Diagnosis) -> str:
    """Return one line, and the fix on a second where there is something to fix."""
    state = click.style(f"{diagnosis.state:<5}", fg=_COLOURS[diagnosis.state], bold=diagnosis.state == "fail")
    line = f"{state} {diagnosis.subject:<9} {diagnosis.said}"
    return f"{line}\n{'':<15} fix: {diagnosis.fix}" if diagnosis.fix else line
