"""`exd-dagster decide`: record what a person decided about failing flags."""

from datetime import datetime, timezone

import click

from exd_dagster.alerts.decision import KINDS
from exd_dagster.alerts.words import utc
from exd_dagster.cli.project import load_plans, module_option, open_instance
from exd_dagster.decisions import decision_basis, make_decision, record_decision


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--flag", "flags", required=True, help="Flag key, or a glob over flag keys.")
@click.option("--check", "checks", default="*", show_default=True, help="Check name, or a glob.")
@click.option("--reason", required=True, help="Why.")
@click.option("--by", required=True, help="Who decides.")
@click.option(
    "--until", required=True, help="First instant it no longer holds: 2026-05-01 or 2026-05-01T09:00Z."
)
@module_option
def decide(kind: str, flags: str, checks: str, reason: str, by: str, until: str, module: str | None) -> None:
    """Record a decision: silence (no messages), waive (reports run), or end (the audit is over)."""
    monitored = {key: flag for plan in load_plans(module) for key, flag in plan.monitored.items()}
    with open_instance() as instance:
        config = {"kind": kind, "flags": flags, "checks": checks, "reason": reason, "by": by, "until": until}
        basis = decision_basis(instance, monitored)
        decision = make_decision(config, list(monitored.values()), basis, datetime.now(timezone.utc))
        record_decision(instance, decision)
    touched = sorted({str(flag.id) for flag in monitored.values() if decision.covers(flag.id)})
    click.echo(f"{kind} until {utc(decision.until)} for {', '.join(touched)}: {KINDS[kind]}.")
    click.echo("The checks of these flags run again at the daemon's next tick.")
