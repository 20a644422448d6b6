"""A bad week in seconds: many flags, every kind of refusal, and a daemon that is killed at random.

For every run 100 flags; for `make check` 500.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import pytest

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack import SlackBot
from exd_dagster.alerts.channels.webhook import Webhook
from exd_dagster.alerts.model import CheckState
from tests.alerts.alerting import KilledError, Office
from tests.alerts.make import check
from tests.servers.http import HttpServer, Received, Reply, slack_answers, slack_refuses
from tests.servers.smtp import SmtpServer

OWNERS, KILLS, SEED = 20, 20, 20260305
MENDED_AT, WELL_AT, LONGEST = 30, 55, 400
CHECKS = ("srm", "sequential_srm", "traffic_drop")
TROUBLE = [
    Reply(408),
    Reply(425),
    Reply(429, "", {"Retry-After": "120"}),
    Reply(500),
    Reply(502),
    Reply(503, "", {"Retry-After": "Thu, 05 Mar 2026 05:00:00 GMT"}),
    Reply(504),
    Reply(reset=True),
]
SLACK_TROUBLE = [
    *TROUBLE,
    slack_refuses("internal_error"),
    slack_refuses("ratelimited", **{"Retry-After": "9"}),
]
FOOTER = re.compile(r"exd_dagster · ([0-9a-f]{12})")


class Flaky:
    """Answers as `well` does, or with trouble while `bad`; keeps what it accepted."""

    def __init__(
        self, chance: random.Random, trouble: list[Reply], well: Callable[[Received], Reply]
    ) -> None:
        self.chance, self.trouble, self.well = chance, trouble, well
        self.bad = 0.4
        self.accepted: list[Received] = []

    def __call__(self, request: Received) -> Reply:
        if self.chance.random() < self.bad:
            return self.chance.choice(self.trouble)
        self.accepted.append(request)
        return self.well(request)


def fleet(chance: random.Random, size: int) -> dict[str, list[CheckState]]:
    """So many flags of 20 owners; 40 % fail, few in traffic; some other checks say nothing."""
    flags = {}
    for index in range(size):
        key, owners = f"flag-{index:03d}", (f"team:t{index % OWNERS}",)
        broken = chance.random() < 0.4
        failing = set(chance.sample(CHECKS[:2], chance.randint(1, 2))) if broken else set()
        failing |= {"traffic_drop"} if broken and chance.random() < 0.3 else set()
        flags[key] = [
            check(
                name,
                "fail" if name in failing else chance.choice(["pass", "pass", "insufficient", "skipped"]),
                key=key,
                owners=owners,
                bad_from=f"2026-03-04T{10 + CHECKS.index(name):02d}:00:00Z",
            )
            for name in CHECKS
        ]
    return flags


@dataclass
class Week:
    """The servers, the office and what became of it all."""

    size: int
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    reported: list[Notification] = field(default_factory=list)
    killed: int = 0

    def __post_init__(self) -> None:
        self.flags = fleet(self.chance, self.size)
        self.planted = {(key, c.check) for key, checks in self.flags.items() for c in checks if c.pages}
        self.broken = {key for key, _ in self.planted}
        self.mended = {key for key in sorted(self.broken) if self.chance.random() < 0.3}
        self.slack = Flaky(self.chance, SLACK_TROUBLE, slack_answers)
        self.web = Flaky(self.chance, TROUBLE, lambda _: Reply())

    def callback(self, notification: Notification) -> None:
        if self.chance.random() < 0.05:
            raise RuntimeError("no luck")
        self.reported.append(notification)

    @contextmanager
    def servers(self) -> Iterator[None]:
        with (
            HttpServer(default=self.slack) as slack,
            HttpServer(default=self.web) as web,
            HttpServer(default=Reply(410)) as gone,
            SmtpServer() as self.mail,
        ):
            mail = {"host": "127.0.0.1", "port": self.mail.port, "sender": "e@x.org", "to": ("a@x.org",)}
            self.office = Office(
                SlackBot(name="slack", token="t", conversation="#a", base_url=f"{slack.url}/api/"),
                Smtp(name="email", tls="none", **mail),
                Webhook(name="web", url=web.url, allow_hosts=("127.0.0.1",)),
                Webhook(name="gone", url=gone.url, allow_hosts=("127.0.0.1",)),
                Callback(name="callback", function=self.callback),
            )
            yield

    def live(self) -> None:
        """Tick until everything is well and delivered."""
        for tick in range(LONGEST):
            self.fate(tick)
            try:
                self.office.tick(
                    *(c for checks in self.flags.values() for c in checks), after=timedelta(minutes=4)
                )
            except KilledError:
                self.killed += 1
            if tick > WELL_AT and self.killed == KILLS and not self.office.state.outbox:
                return

    def fate(self, tick: int) -> None:
        """Decide what goes wrong in this tick."""
        if self.killed < KILLS and self.chance.random() < 0.8:
            self.office.storage.die_at = self.office.storage.writes + self.chance.randint(1, 6)
        busy = self.chance.random() < 0.4 and tick < WELL_AT
        self.mail.refuse = {"*": self.chance.choice(["451 later", "421 busy"])} if busy else {}
        if tick == MENDED_AT:
            for key in self.mended:
                self.flags[key] = [check(c.check, "pass", key=key, owners=c.owners) for c in self.flags[key]]
        if tick == WELL_AT:
            self.slack.bad = self.web.bad = 0.0

    @property
    def hooks(self) -> list[dict]:
        return [request.json for request in self.web.accepted]

    @cached_property
    def texts(self) -> dict[str, str]:
        """Everything people read, by channel."""
        blocks = (json.dumps(request.json["blocks"], ensure_ascii=False) for request in self.slack.accepted)
        mails = (mail.get_body(("plain",)).get_content() for mail in self.mail.mails)
        return {"slack": "\n".join(blocks), "email": "\n".join(mails)}


@pytest.fixture(scope="module", params=[100, pytest.param(500, marks=pytest.mark.e2e)])
def week(request: pytest.FixtureRequest) -> Week:
    week = Week(request.param)
    with week.servers():
        week.live()
    return week


def test_the_daemon_was_killed_twenty_times_and_nothing_is_left_waiting(week):
    assert (week.killed, week.office.state.outbox) == (KILLS, ())


def test_every_failing_check_reached_the_webhook(week):
    fired = {(h["details"]["flag"], h["details"]["check"]) for h in week.hooks if h["reason"] == "fire"}
    assert fired == week.planted


@pytest.mark.parametrize("destination", ["slack", "email", "web", "callback"])
def test_every_incident_was_reported_on_every_destination_that_recovers(week, destination):
    reported = {
        row.flag.key
        for row in week.office.deliveries()
        if (row.destination, row.status, row.reason) == (destination, "sent", "fire")
    }
    assert reported == week.broken


def test_exactly_the_mended_flags_were_reported_as_resolved(week):
    assert {h["details"]["flag"] for h in week.hooks if h["reason"] == "resolve"} == week.mended


@pytest.mark.parametrize("channel", ["slack", "email"])
def test_no_healthy_flag_was_ever_named(week, channel):
    assert {key for key in week.flags if key in week.texts[channel]} <= week.broken


def test_what_the_endpoint_that_is_gone_lost_was_reported_elsewhere(week):
    heard = [n.message.headline for n in week.reported] + [h["message"] for h in week.hooks]
    assert any(" to gone" in text for text in [*heard, *week.texts.values()])


def test_there_are_at_most_as_many_repeats_as_kills(week):
    posts = (r for r in week.slack.accepted if r.path.endswith("postMessage"))
    repeats = {
        "slack": repeated(FOOTER.findall(json.dumps(r.json["blocks"], ensure_ascii=False))[0] for r in posts),
        "email": repeated(str(mail["Message-ID"]) for mail in week.mail.mails),
        "web": repeated(hook["id"] for hook in week.hooks),
        "callback": repeated(notification.id for notification in week.reported),
    }
    assert sum(repeats.values()) <= week.killed, repeats


def repeated(ids: Iterable[str]) -> int:
    """How many messages came more than once."""
    return sum(count - 1 for count in Counter(ids).values())
