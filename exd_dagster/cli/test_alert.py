"""`exd-dagster test-alert`: send a test notification through the configured routes."""

import click

from exd_dagster.alerts.messages.message import plain_text
from exd_dagster.alerts.test_alert import TestAlertResult, example_alert, send_test_alert
from exd_dagster.cli.project import fleet_option, load_plans, module_option
from exd_dagster.config.faults import nearest_faults
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.destinations import channels
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.stats.checks import able_to_block


@click.command("test-alert")
@click.option("--flag", required=True, help="Key of an audited flag; its owner determines the route.")
@click.option(
    "--check", default="srm", show_default=True, type=click.Choice(able_to_block()), help="Which check."
)
@click.option("--to", multiple=True, help="Only these destinations, ignoring the routes. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Show the message, send nothing.")
@fleet_option
@module_option
def test_alert(
    flag: str, check: str, to: tuple[str, ...], dry_run: bool, fleet: str | None, module: str | None
) -> int:
    """Send a test alert the way a real one goes, and show each destination's answer."""
    failed = False
    found = False
    plans = load_plans(module, fleet)
    for plan in plans:
        matching = {key: audit for key, audit in plan.monitored.items() if flag in (audit.key, str(audit.id))}
        if not matching:
            continue
        found = True
        if not plan.alerts:
            raise ConfigError("test-alert", ["no destination is configured; give alerts=[...]"])
        if faults := nearest_faults(to, [alert.name for alert in plan.alerts], "--to: destination"):
            raise ConfigError("test-alert", faults)
        key, audit = next(iter(matching.items()))
        setup = plan.setup()
        for name, why in setup.unready.items():
            click.echo(f"{name}: {'would be ' * dry_run}skipped, {why}")
        now = utc_now()
        alert = example_alert(audit, check, key.asset_key.path, now)
        usable = channels(plan.alerts) if dry_run else setup.channels
        asked = {name: channel for name, channel in usable.items() if name in (to or usable)}
        line = send_test_alert(setup, alert, now, channels=asked, to=to, dry_run=dry_run)
        failed |= len(line) < max(len(set(to)), 1)
        for done in line:
            failed |= _show(done)
    if not found:
        known = {audit.key for plan in plans for audit in plan.monitored.values()}
        raise ConfigError("test-alert", [f"--flag: '{flag}' is not audited.{did_you_mean(flag, known)}"])
    return int(failed)


def _show(done: TestAlertResult) -> bool:
    """Print one destination's part; True when it was not delivered."""
    click.echo(f"{done.destination} ({done.channel}), by {done.why}")
    if done.outcome is None:
        click.echo(plain_text(done.message))
        return False
    click.echo(f"  {done.outcome.status}: {done.outcome.detail}")
    return done.outcome.status != "sent"
