"""`exd-dagster alerts`: open incidents, deliveries and what could not be delivered."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from re import fullmatch

import click
import dagster as dg

from exd_dagster.alerts.deliveries import Delivery, deliveries
from exd_dagster.alerts.messages.text import clip_name, visible
from exd_dagster.alerts.messages.words import count, utc
from exd_dagster.alerts.model import AlertState, Incident
from exd_dagster.alerts.policy.decisions import Decision, active_decisions, in_words
from exd_dagster.alerts.state import StateStore
from exd_dagster.cli.project import open_instance
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.decisions.asset import load_decisions
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.internals import cursor_storage
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.stats.verdict import plain

sensor_option = click.option(
    "--sensor", default=None, help="Name of the alert sensor; default: the only one."
)


@click.group()
def alerts() -> None:
    """Show open incidents and deliveries."""


@alerts.command()
@click.option("--last", default=20, show_default=True, help="Deliveries to show, newest last.")
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(last: int, shape: str) -> None:
    """Show open incidents, pending messages and deliveries."""
    with open_instance() as instance:
        states = load_states(instance)
        decided = {name: _decisions(instance, name) for name in states}
    if shape == "json":
        shown = {name: _as_json(state, decided[name], last) for name, state in states.items()}
        click.echo(json.dumps(shown, indent=2))
        return
    if not states:
        click.echo("No alert sensor has ticked on this instance yet. Is the daemon running?")
    for name, state in states.items():
        _show(name, state, decided[name], last)


def _decisions(instance: dg.DagsterInstance, sensor: str) -> tuple[Decision, ...]:
    """Return the decisions about the flags of a sensor; a sensor without a fleet has none."""
    fleet = sensor.removesuffix("_check_alerts")
    known = fullmatch(r"[A-Za-z0-9_]+", fleet) and FleetNames(fleet).alert_sensor == sensor
    return load_decisions(instance, fleet) if known else ()


def _answer(incident: Incident, decisions: Sequence[Decision]) -> str:
    """Return who answered an incident and until when, the newest first; "" where nobody did."""
    held = [
        each
        for each in active_decisions(decisions, incident.flag, utc_now())
        if any(each.covers(incident.flag, check) for check in _open_checks(incident))
    ]
    return "; ".join(map(in_words, held))


def _show(name: str, state: AlertState, decisions: Sequence[Decision], last: int) -> None:
    incidents, messages = count(len(state.incidents), "open incident"), count(len(state.outbox), "message")
    click.echo(f"{name}: {incidents}, {messages} pending")
    for incident in state.incidents.values():
        checks = ", ".join(_open_checks(incident))
        answer = _answer(incident, decisions) or "nobody answered"
        click.echo(f"  open since {utc(incident.opened_at)}  {incident.flag}: {checks}  ({answer})")
    for until_name, until in state.paused.items():
        click.echo(f"  {until_name} is rate limiting until {utc(until)}")
    for row in deliveries(state)[-last:]:
        click.echo("  " + _line(row))


def _open_checks(incident: Incident) -> list[str]:
    return [check for check in incident.alerts if check not in incident.recovered]


def _line(row: Delivery) -> str:
    flag = clip_name(visible(row.flag))
    line = f"{utc(row.at)}  {row.status:<8} {row.destination:<12} {row.reason:<11} {flag} {row.check}"
    return f"{line}  {row.detail}".rstrip()


def _as_json(state: AlertState, decisions: Sequence[Decision], last: int) -> dict[str, object]:
    return {
        "incidents": [
            {
                "flag": str(i.flag),
                "opened_at": plain(i.opened_at),
                "checks": _open_checks(i),
                "answer": _answer(i, decisions),
            }
            for i in state.incidents.values()
        ],
        "waiting": len(state.outbox),
        "deliveries": [
            {
                "flag": row.flag.key,
                "namespace": row.flag.namespace,
                "environment": row.flag.environment,
                **{each.name: plain(getattr(row, each.name)) for each in fields(row)[1:]},
            }
            for row in deliveries(state)[-last:]
        ],
    }


@alerts.command()
@sensor_option
def retry(sensor: str | None) -> None:
    """Send dead letters again at the sensor's next tick."""
    with open_instance() as instance:
        store = StateStore(cursor_storage(instance), _chosen(load_states(instance), sensor))
        store.ask_replay(utc_now())
    click.echo("Asked. The sensor's next tick queues them again.")


@alerts.command()
@sensor_option
@click.confirmation_option(prompt="Delete the alerting state? Every check that still fails is sent again")
def reset(sensor: str | None) -> None:
    """Delete the alerting state; what still fails is sent again."""
    with open_instance() as instance:
        name = sensor or _chosen(load_states(instance), sensor)
        StateStore(cursor_storage(instance), name).reset()
    click.echo(f"The alerting state of {name} is empty.")


@alerts.command()
@click.argument("location")
@sensor_option
def adopt(location: str, sensor: str | None) -> None:
    """Hand the alerting state to the code location LOCATION after it was renamed."""
    with open_instance() as instance:
        states = load_states(instance)
        name = _chosen(states, sensor)
        StateStore(cursor_storage(instance), name).save(replace(states[name], home=location).bump())
    click.echo(f"The alerting state of {name} belongs to {location}.")


def _chosen(states: dict[str, AlertState], sensor: str | None) -> str:
    if sensor is None and len(states) == 1:
        return next(iter(states))
    if sensor in states:
        return str(sensor)
    fault = f"--sensor: '{sensor}' is not known." if sensor else "--sensor: name one."
    raise ConfigError("alerts", [fault + did_you_mean(sensor or "", states)])
