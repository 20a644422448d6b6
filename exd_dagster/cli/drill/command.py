"""`exd-dagster drill`: inject a fault into a copy of the records and measure detection."""

import json
from datetime import datetime
from typing import cast

import click

from exd_dagster.cli.drill.drill import SIZES, Detection, DrillResult, FaultKind, delay, run_drill
from exd_dagster.cli.project import fleet_option, load_fleets, module_option
from exd_dagster.config import FlagAudit, to_utc
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.errors import ConfigError, did_you_mean

_COLOURS = {"pass": "green", "fail": "red"}


@click.command(short_help="Inject a fault into a copy of your records and measure detection.")
@click.option("--flag", "key", required=True, help="Key of an audited flag.")
@click.option("--fault", "kind", required=True, type=click.Choice(list(SIZES)), help="Fault to inject.")
@click.option("--from", "since", help="When it begins (UTC); default: 48 h before the end of the log.")
@click.option("--size", type=click.FloatRange(0, 1, min_open=True), help="Share of the units lost.")
@click.option("--arm", help="The variant that loses units; default: the last one declared.")
@click.option("--where", "where", multiple=True, metavar="COLUMN=VALUE", help="Only records of this segment.")
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True)
@fleet_option
@module_option
def drill(
    key: str,
    kind: str,
    since: str | None,
    size: float | None,
    arm: str | None,
    where: tuple[str, ...],
    shape: str,
    fleet: str | None,
    module: str | None,
) -> None:
    """Copy a flag's records, inject a fault, and audit hour by hour until each check detects it.

    srm: an arm loses 20 % of its units. dead_arm: an arm loses all. drop: 80 % of all units are lost.
    --where "browser=Safari" injects it into records of that segment only, and asks the checks of segments
    too. Your log, your bins and your alerts are not touched.
    """
    plan, flag = find_flag(load_fleets(module, fleet), key)
    done = run_drill(
        plan.records,
        flag,
        cast("FaultKind", kind),
        thresholds=plan.thresholds,
        timing=plan.timing,
        now=utc_now(),
        since=_instant(since) if since else None,
        size=size,
        arm=arm,
        where=dict(map(_condition, where)),
    )
    if shape == "json":
        click.echo(json.dumps(done.as_json(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        click.echo(as_text(done))


def find_flag(plans: list[AuditPlan], key: str) -> tuple[AuditPlan, FlagAudit]:
    """Return the fleet and the flag of that key, or `namespace/environment/key`.

    Raises:
        ConfigError: when none is audited under that name, or several fleets audit it.
    """
    flags = [(plan, flag) for plan in plans for flag in plan.flags]
    found = [(plan, flag) for plan, flag in flags if key in (flag.key, str(flag.id))]
    if not found:
        near = did_you_mean(key, (flag.key for _, flag in flags))
        raise ConfigError("these options", [f"--flag: '{key}' is not audited.{near}"])
    fleets = sorted({plan.name for plan, _ in found})
    if len(fleets) > 1:
        fault = f"--flag: '{key}' is audited by the fleets {', '.join(fleets)}; name one with --fleet"
        raise ConfigError("these options", [fault])
    return found[0]


def _instant(text: str) -> datetime:
    try:
        return cast("datetime", to_utc(text))
    except ValueError as error:
        raise click.UsageError(f"--from '{text}': {error}; write 2026-03-20T14:00Z.") from None


def _condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not (column.strip() and equals):
        raise click.UsageError(f"--where '{text}': write it as a column and its value: browser=Safari.")
    return column.strip(), value.strip()


def as_text(done: DrillResult) -> str:
    """Return the drill as text: the fault, then when each check failed and its sentence."""
    lines = [
        f"{click.style(str(done.flag.id), bold=True)}  {done.fault}",
        f"Audited hour by hour up to {done.through:%Y-%m-%d %H:%M} UTC.",
        "",
        f"{'check':<17}{'before':<14}{'fails':<16}blocks",
    ]
    lines += [_row(done, detection) for detection in done.checks]
    lines += [""]
    lines += [f"{detection.check}: {detection.sentence}" for detection in done.checks]
    if done.note:
        lines += ["", done.note]
    if done.flag.mode != "block":
        lines += ["", f'Mode is {done.flag.mode}: nothing is blocked until you set mode="block".']
    return "\n".join(lines)


def _row(done: DrillResult, detection: Detection) -> str:
    before = click.style(f"{detection.before:<14}", fg=_COLOURS.get(detection.before, "yellow"))
    delays = [_after(delay(done.fault, instant)) for instant in (detection.warned, detection.blocked)]
    delays = ["already"] if detection.before == "fail" else delays
    return f"{detection.check:<17}{before}" + "".join(f"{text:<16}" for text in delays).rstrip()


def _after(hours: float | None) -> str:
    return "not yet" if hours is None else f"after {hours:g} h"
