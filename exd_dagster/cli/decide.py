"""`exd-dagster decide`: record a decision about failing flags."""

from collections.abc import Sequence
from dataclasses import replace

import click
from dagster import AssetCheckKey

from exd_dagster.alerts.messages.words import utc
from exd_dagster.alerts.policy.decisions import KINDS, VERDICTS, Decision
from exd_dagster.cli.project import fleet_option, load_plans, module_option, open_instance
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.decisions.asset import (
    decision_basis,
    make_decision,
    record_decision,
    remembered_incidents,
    report_checks,
    unmonitored_flags,
)


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--flag", "flags", required=True, help="Flag key or glob; several with commas.")
@click.option("--check", "checks", default="*", show_default=True, help="Check name, or a glob.")
@click.option("--reason", default="", help="Why; needed unless KIND is close.")
@click.option("--by", required=True, help="Who decides.")
@click.option("--until", default="", help="When it ends: 2026-05-01T09:00Z; needed unless KIND is close.")
@click.option("--verdict", type=click.Choice(list(VERDICTS)), default=None, help="Of a close: was it real?")
@click.option("--cause", default="", help="Of a close: why, in a word that others use too, such as cache.")
@click.option("--incident", default="", help="Of a close: the incident's id; default: the latest one.")
@fleet_option
@module_option
def decide(fleet: str | None, module: str | None, verdict: str | None, **given: str) -> None:
    """Record a decision about failing flags.

    acknowledge (no reminders), silence (no messages), waive (reports run), end (the audit is over), or close
    (it is known what it was). It is recorded in every fleet of the project with a matching flag.
    """
    config = {**given, "verdict": verdict or ""}
    fleets: dict[str, dict[AssetCheckKey, FlagAudit]] = {}
    left: dict[str, list[FlagId]] = {}
    plans = load_plans(module, fleet)
    with open_instance() as instance:
        for plan in plans:
            fleets.setdefault(plan.fleet, {}).update(plan.monitored)
            left.setdefault(plan.fleet, []).extend(unmonitored_flags(instance, plan.name))
            if config["kind"] == "close":
                left[plan.fleet] += [past.flag for past in remembered_incidents(instance, plan.name)]
        audited = [flag for monitored in fleets.values() for flag in monitored.values()]
        gone = [flag for flags_left in left.values() for flag in flags_left]
        decision = make_decision(
            config,
            audited,
            {},
            utc_now(),
            unmonitored=gone,
            incidents=remembered_incidents(instance),
            reports=report_checks(key for monitored in fleets.values() for key in monitored),
        )
        for name, monitored in fleets.items():
            if decision.covered((*(flag.id for flag in monitored.values()), *left[name])):
                basis = decision_basis(instance, monitored)
                record_decision(instance, replace(decision, basis=basis), name)
    _say(decision, [str(flag) for flag in decision.covered((*(flag.id for flag in audited), *gone))])


def _say(decision: Decision, touched: Sequence[str]) -> None:
    if decision.kind == "close":
        click.echo(f"Closed as {decision.verdict} for {', '.join(touched)}: {VERDICTS[decision.verdict]}.")
        return
    click.echo(
        f"{decision.kind} until {utc(decision.until)} for {', '.join(touched)}: {KINDS[decision.kind]}."
    )
    click.echo("The checks of these flags run again at the daemon's next tick.")
