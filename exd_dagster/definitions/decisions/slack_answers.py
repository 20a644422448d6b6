"""Answers in Slack: a press becomes a run of the decision job, launched as the person who pressed.

Dagster decides whether they may, its run history records who, and a button works once.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Lock
from typing import Any

import dagster as dg

from exd_dagster.alerts.channels.slack.click import (
    Click,
    RefusedClickError,
    Trusted,
    answered,
    read_click,
)
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.slack.socket import SlackConnection
from exd_dagster.alerts.messages.answers import until_of
from exd_dagster.alerts.messages.text import visible
from exd_dagster.alerts.model import AlertState
from exd_dagster.definitions.decisions.launch import Caller
from exd_dagster.definitions.decisions.slack_users import SlackUser
from exd_dagster.errors import DeliveryError

ANSWER_TAG = "exd/slack_answer"
"""Tag of a run: the id of the button that launched it."""
USER_TAG = "exd/slack_user"
"""Tag of a run: Slack's id of the person."""
DONE = {"acknowledge": "Acknowledged", "silence": "Silenced", "waive": "Waived"}


@dataclass(slots=True, kw_only=True)
class SlackAnswers:
    """Handles the presses of one app.

    Attributes:
        url: address of Dagster's webserver.
        users: who may answer, by Slack's id.
        bots: the destinations of the app, by name.
        states: reads the alerting states.
        used: reads whether a run of a button is recorded.
        log: receives one line per press.
    """

    url: str
    users: Mapping[str, SlackUser]
    bots: Mapping[str, SlackBot]
    states: Callable[[], Collection[AlertState]]
    used: Callable[[str], bool]
    log: logging.Logger
    _pressed: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def pressed(self, connection: SlackConnection, payload: Mapping[str, Any]) -> None:
        """Act on one press, or say why not: to the person, where it comes from our own message."""
        try:
            click = read_click(payload, self._trusted(connection), datetime.now(timezone.utc))
            if click is not None:
                self._act(connection, click)
        except RefusedClickError as error:
            self.log.warning("Slack: refused %s", error)
            if error.explain:
                connection.ephemeral(*_place(payload), str(error))

    def _trusted(self, connection: SlackConnection) -> Trusted:
        posted = {
            receipt.place
            for state in self.states()
            for receipt in state.receipts
            if receipt.entry.destination in self.bots and receipt.place
        }
        return Trusted(
            app_id=connection.app_id,
            team_id=connection.team_id,
            channels=posted,
            token=connection.bot.token,
        )

    def _act(self, connection: SlackConnection, click: Click) -> None:
        user = self.users.get(click.user)
        if user is None:
            why = f"{click.user} is not among those who may answer in Slack; the file of users needs a line."
            raise RefusedClickError(why, explain=True)
        with self._lock:
            if click.id in self._pressed or self.used(click.id):
                raise RefusedClickError("This was answered already.", explain=True)
            self._pressed.add(click.id)
        try:
            said = self._decide(click, user)
        except DeliveryError as error:
            self._pressed.discard(click.id)
            raise RefusedClickError(f"{error}", explain=True) from None
        self.log.info("Slack: %s", said)
        edited = connection.edit(click.channel, click.ts, click.text, answered(click, said))
        if edited.status != "sent":
            self.log.warning("Slack: the message was not edited: %s", edited.detail)
            connection.ephemeral(click.channel, click.user, said)

    def _decide(self, click: Click, user: SlackUser) -> str:
        """Launch the job, wait for it, and return what was decided."""
        offer, caller = click.offer, Caller(url=self.url, headers=user.known_by())
        until = until_of(offer.kind, datetime.now(timezone.utc))
        config = {
            "kind": offer.kind,
            "flags": offer.flags,
            "checks": offer.checks,
            "reason": "answered in Slack",
            "by": f"{user.name} (Slack {click.user})",
            "until": until,
        }
        tags = {ANSWER_TAG: click.id, USER_TAG: click.user}
        run = caller.launch(offer.location, offer.job, offer.op, config, tags)
        status = caller.outcome(run)
        if status in ("FAILURE", "CANCELED"):
            raise DeliveryError(f"The decision was not recorded; see {self.url.rstrip('/')}/runs/{run}.")
        done = DONE[offer.kind] if status == "SUCCESS" else f"Asked to {offer.kind}"
        ends = until.replace("T", " ").replace("Z", " UTC")
        return visible(f"{done} until {ends} by {user.name}")


def launched(instance: dg.DagsterInstance, answer: str) -> bool:
    """Return whether a run was launched by this button that did not fail."""
    records = instance.get_run_records(dg.RunsFilter(tags={ANSWER_TAG: answer}))
    failed = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    return any(record.dagster_run.status not in failed for record in records)


def apps(destinations: Sequence[tuple[str, str, SlackBot]]) -> dict[tuple[str, str], dict[str, SlackBot]]:
    """Group destinations by app: (app token, bot token), each with its bots by name.

    Args:
        destinations: name, app-level token and bot of each.
    """
    found: dict[tuple[str, str], dict[str, SlackBot]] = {}
    for name, app_token, bot in destinations:
        found.setdefault((app_token, bot.token), {})[name] = bot
    return found


def _place(payload: Mapping[str, Any]) -> tuple[str, str]:
    """Channel and person of a payload that `read_click` verified."""
    return str(payload["container"]["channel_id"]), str(payload["user"]["id"])
