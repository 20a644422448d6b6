"""Answers in Slack: a press becomes a run of the decision job, launched as the person who pressed.

Dagster decides whether they may, its run history records who, and a button works once.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import dagster as dg

from exd_dagster.alerts.channels.slack.click import (
    Click,
    RefusedClickError,
    Trusted,
    answered,
    part_of,
    read_click,
    text_of,
)
from exd_dagster.alerts.channels.slack.form import Submission, form_of, read_submission
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.slack.socket import SlackConnection
from exd_dagster.alerts.messages.answers import ASKS_WHY, until_of
from exd_dagster.alerts.messages.text import visible
from exd_dagster.alerts.model import AlertState, instant
from exd_dagster.alerts.policy.decisions import DONE, KINDS
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.decisions.launch import Caller
from exd_dagster.definitions.decisions.slack_users import SlackUser
from exd_dagster.errors import DeliveryError

ANSWER_TAG = "exd/slack_answer"
"""Tag of a run: the id of the button that launched it."""
USER_TAG = "exd/slack_user"
"""Tag of a run: Slack's id of the person."""
_REMEMBERED = 1000
"""Messages whose forms are open, which an answer edits; after a restart it is posted in their thread."""


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
    _forms: dict[str, Click] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def pressed(self, connection: SlackConnection, payload: Mapping[str, Any]) -> None:
        """Act on one press or form, or say why not: to the person, where it comes from our own message."""
        now, trusted = utc_now(), self._trusted(connection)
        answer: Click | Submission | None = None
        try:
            answer = read_submission(payload, trusted, now) or read_click(payload, trusted, now)
            if isinstance(answer, Click) and answer.offer.kind in ASKS_WHY:
                self._open(connection, answer)
            elif answer is not None:
                self._act(connection, answer)
        except RefusedClickError as error:
            self.log.warning("Slack: refused %s", error)
            if error.explain:
                channel, user = _place(payload)
                channel = answer.channel if answer else error.channel or channel
                connection.ephemeral(channel, user, str(error))

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

    def _known(self, user: str) -> SlackUser:
        if found := self.users.get(user):
            return found
        why = f"{user} is not among those who may answer in Slack; the file of users needs a line."
        raise RefusedClickError(why, explain=True)

    def _refuse_used(self, answer: str) -> None:
        if answer in self._pressed or self.used(answer):
            raise RefusedClickError("This was answered already.", explain=True)

    def _open(self, connection: SlackConnection, click: Click) -> None:
        """Open the form that asks why and until when."""
        self._known(click.user)
        now = utc_now()
        with self._lock:
            self._refuse_used(click.id)
            self._forms[click.id] = click
            for oldest in list(self._forms)[:-_REMEMBERED]:
                del self._forms[oldest]
        until = instant(until_of(click.offer.kind, now)) or now
        view = form_of(click, KINDS[click.offer.kind], until, connection.bot.token, now)
        opened = connection.form(click.trigger, view)
        if opened.status != "sent":
            why = f"Slack did not open the form ({opened.detail}). Press again, or decide in Dagster."
            raise RefusedClickError(why, explain=True)

    def _act(self, connection: SlackConnection, answer: Click | Submission) -> None:
        """Record a decision, once, and say so in the message."""
        user = self._known(answer.user)
        with self._lock:
            self._refuse_used(answer.id)
            self._pressed.add(answer.id)
        try:
            said = self._decide(answer, user)
        except DeliveryError as error:
            self._pressed.discard(answer.id)
            raise RefusedClickError(f"{error}", explain=True) from None
        self.log.info("Slack: %s", said)
        click = answer if isinstance(answer, Click) else self._forms.pop(answer.id, None)
        if click is None:  # the form was opened before this process began
            told = connection.reply(answer.channel, answer.ts, said)
        else:
            told = connection.edit(click.channel, click.ts, click.text, answered(click, said))
        if told.status != "sent":
            self.log.warning("Slack: the message was not edited: %s", told.detail)
            connection.ephemeral(answer.channel, answer.user, said)

    def _decide(self, answer: Click | Submission, user: SlackUser) -> str:
        """Launch the job, wait for it, and return what was decided."""
        offer, caller = answer.offer, Caller(url=self.url, headers=user.known_by())
        until, reason = until_of(offer.kind, utc_now()), ""
        if isinstance(answer, Submission):
            until, reason = f"{answer.until:%Y-%m-%dT%H:%MZ}", answer.reason
        config = {
            "kind": offer.kind,
            "flags": offer.flags,
            "checks": offer.checks,
            "reason": reason or "answered in Slack",
            "by": f"{user.name} (Slack {answer.user})",
            "until": until,
        }
        tags = {ANSWER_TAG: answer.id, USER_TAG: answer.user}
        run = caller.launch(offer.location, offer.job, offer.op, config, tags)
        status = caller.outcome(run)
        if status in ("FAILURE", "CANCELED"):
            raise DeliveryError(f"The decision was not recorded; see {self.url.rstrip('/')}/runs/{run}.")
        done = DONE[offer.kind].capitalize() if status == "SUCCESS" else f"Asked to {offer.kind}"
        ends = until.replace("T", " ").replace("Z", " UTC")
        return visible(f"{done} until {ends} by {user.name}" + (f": {reason}" if reason else ""))


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
    """Channel, "" for a form, and person of a payload."""
    return text_of(part_of(payload, "container"), "channel_id"), text_of(part_of(payload, "user"), "id")
