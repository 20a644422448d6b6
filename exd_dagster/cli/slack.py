"""`exd-dagster slack`: let the buttons of alerts answer in Slack."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import dagster as dg

from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.slack.socket import SlackConnection
from exd_dagster.cli.project import load_plans, module_option, open_instance
from exd_dagster.definitions.alerting.destinations import SlackAlerts
from exd_dagster.definitions.alerting.plan import AlertPlan
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.decisions.slack_answers import SlackAnswers, apps, launched
from exd_dagster.definitions.decisions.slack_users import SlackUser, read_slack_users
from exd_dagster.errors import ConfigError, DeliveryError

_LOG = logging.getLogger("exd_dagster.slack")
_MOST_SECONDS = 10
"""Time to end: container platforms kill what takes longer."""


@click.command()
@click.option(
    "--users",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file of who may answer: a line for each person, such as U024BE7LH: ana.",
)
@click.option(
    "--dagster-url", default=None, help="Address of the webserver; default: base_url of the project."
)
@module_option
def slack(users: Path, dagster_url: str | None, module: str | None) -> None:
    """Answer alerts in Slack: a button launches the decision job as the person who pressed it.

    Runs until it is stopped. Connects to Slack, so that nothing has to be reachable from the internet.
    """
    people, plans = read_slack_users(users), load_plans(module)
    found = [destination for plan in plans for destination in _destinations(plan)]
    if not found:
        fault = "no SlackAlerts has an app_token; give app_token=dg.EnvVar('SLACK_APP_TOKEN')"
        raise ConfigError("the project", [fault])
    url = _webserver(dagster_url, plans)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    _LOG.setLevel(logging.INFO)
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with open_instance() as instance:
        connections = [
            _connection(instance, url, people, app, bots) for (app, _), bots in apps(found).items()
        ]
        try:
            for connection in connections:
                connection.open()
            click.echo(f"Buttons answer by {url}, for {len(people)} people. Stop with Ctrl-C.")
            while True:
                time.sleep(1)
        finally:
            _end(connections)


def _end(connections: list[SlackConnection]) -> None:
    """End the connections, and the process even where a press is still being answered."""

    def close() -> None:
        for connection in connections:
            connection.close()

    ending = threading.Thread(target=close, daemon=True)
    ending.start()
    ending.join(_MOST_SECONDS)
    if ending.is_alive():  # the threads of `slack_sdk` would be waited for at exit, however long they take
        _LOG.warning("Slack: ended while a press was being answered; look at the runs of the decision job")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)


def _destinations(plan: AlertPlan) -> list[tuple[str, str, SlackBot]]:
    """Return name, app-level token and bot of each destination whose buttons answer."""
    found = []
    for alert in plan.alerts:
        if not isinstance(alert, SlackAlerts) or alert.app_token is None:
            continue
        try:
            bot = alert.open()
            if isinstance(bot, SlackBot):
                found.append((alert.name, alert.needed("app_token"), bot))
        except DeliveryError as error:
            raise ConfigError(f"destination '{alert.name}'", [str(error)]) from None
    return found


def _webserver(given: str | None, plans: list[AlertPlan]) -> str:
    """Return the address of the one webserver that launches the runs."""
    known = {given} if given else {plan.base_url for plan in plans if plan.base_url}
    if len(known) != 1:
        raise ConfigError("--dagster-url", ["name the address of Dagster's webserver: --dagster-url URL"])
    (url,) = known
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--dagster-url", [f"'{url}' is no address; write https://dagster.example.com"])
    return url


def _connection(
    instance: dg.DagsterInstance,
    url: str,
    people: dict[str, SlackUser],
    app_token: str,
    bots: dict[str, SlackBot],
) -> SlackConnection:
    answers = SlackAnswers(
        url=url,
        users=people,
        bots=bots,
        states=lambda: load_states(instance).values(),
        used=lambda answer: launched(instance, answer),
        log=_LOG,
    )
    bot = next(iter(bots.values()))
    return SlackConnection(bot=bot, app_token=app_token, pressed=answers.pressed, log=_LOG)
