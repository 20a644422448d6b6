"""A bad week in seconds: many flags, every kind of refusal, and a daemon that is killed at random.

Slack has quiet hours and a cap, mail a cap, and what nobody acknowledges goes to PagerDuty; the clock jumps.
`python -m tests.alerts.soak` runs it with 500 flags and prints one line.
"""

import json
import logging
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.pagerduty import PagerDuty
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.webhook import Webhook
from exd_dagster.alerts.model import CheckState
from exd_dagster.alerts.policy.timing.active_time import read_interval
from exd_dagster.alerts.policy.timing.hold import DeliveryRules
from tests.alerts.alerting import KilledError, Office
from tests.alerts.make import check
from tests.servers.http import HttpServer, Received, Reply, slack_answers, slack_refuses
from tests.servers.smtp import SmtpServer

OWNERS, KILLS, SEED = 20, 20, 20260305
MENDED_AT, WELL_AT, LONGEST, JUMPS = 30, 55, 900, 6
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


RULES = {
    "slack": DeliveryRules(active_time=(read_interval("06:00-23:00"),), break_through=(), max_per_hour=30),
    "email": DeliveryRules(max_per_hour=6),
}
ROUTES = [
    {
        "to": ["slack", "email", "web", "gone", "callback"],
        "repeat": "12h",
        "escalate_to": ["pager"],
        "escalate_after": "3h",
    }
]


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
        self.pager = Flaky(self.chance, TROUBLE, lambda _: Reply(202))
        self.jumps = sorted(self.chance.sample(range(5, WELL_AT), JUMPS))

    def callback(self, notification: Notification) -> None:
        if self.chance.random() < 0.05:
            raise RuntimeError("no luck")
        self.reported.append(notification)

    @contextmanager
    def servers(self) -> Iterator[None]:
        with (
            HttpServer(default=self.slack) as slack,
            HttpServer(default=self.web) as web,
            HttpServer(default=self.pager) as pager,
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
                PagerDuty(name="pager", routing_key="k", url=pager.url, allow_hosts=("127.0.0.1",)),
                routes=ROUTES,
                rules=RULES,
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
            done = self.killed == KILLS and not self.office.state.outbox and self.escalated >= self.alive
            if tick > WELL_AT and done:
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
            self.slack.bad = self.web.bad = self.pager.bad = 0.0
        if tick in self.jumps:
            self.office.now += self.chance.choice([-1, 1]) * timedelta(minutes=self.chance.randint(5, 90))

    @property
    def hooks(self) -> list[dict]:
        return [request.json for request in self.web.accepted]

    @property
    def alive(self) -> set[str]:
        """Flags that still fail at the end."""
        return self.broken - self.mended

    @property
    def escalated(self) -> set[str]:
        """Flags of which PagerDuty was told that nobody answers."""
        events = (request.json for request in self.pager.accepted)
        return {e["payload"]["component"] for e in events if e["event_action"] == "trigger"}

    def told_on(self, destination: str, reason: str) -> Counter[tuple[str, str]]:
        """How often each (flag, check) was sent there for a reason, as the deliveries say."""
        return Counter(
            (row.flag.key, row.check)
            for row in self.office.deliveries()
            if (row.destination, row.status, row.reason) == (destination, "sent", reason)
        )

    @property
    def lost(self) -> int:
        """What somebody should have been told and was not: failures, ends and escalations."""
        fired = {(h["details"]["flag"], h["details"]["check"]) for h in self.hooks if h["reason"] == "fire"}
        ended = {h["details"]["flag"] for h in self.hooks if h["reason"] == "resolve"}
        people = sum(
            len(self.planted - set(self.told_on(name, "fire")))
            + len(self.mended - {flag for flag, _ in self.told_on(name, "resolve")})
            for name in ("slack", "email", "callback")
        )
        return (
            len(self.planted - fired) + len(self.mended - ended) + people + len(self.alive - self.escalated)
        )

    @property
    def repeats(self) -> dict[str, int]:
        """How many messages came more than once with one id, by channel."""
        posts = (r for r in self.slack.accepted if r.path.endswith("postMessage"))
        return {
            "slack": repeated(
                FOOTER.findall(json.dumps(r.json["blocks"], ensure_ascii=False))[0] for r in posts
            ),
            "email": repeated(str(mail["Message-ID"]) for mail in self.mail.mails),
            "web": repeated(hook["id"] for hook in self.hooks),
            "callback": repeated(notification.id for notification in self.reported),
        }

    @property
    def told_again(self) -> int:
        """How often a failure or an end was sent again under another id; deliveries count an id once."""
        counts = (
            self.told_on(name, reason)
            for name in ("slack", "email", "web", "callback")
            for reason in ("fire", "resolve")
        )
        return sum(sum(count.values()) - len(count) for count in counts)

    @property
    def messages(self) -> int:
        """Everything that was accepted."""
        posts = len(self.slack.accepted) + len(self.web.accepted) + len(self.pager.accepted)
        return posts + len(self.mail.mails) + len(self.reported)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Everything people read, by channel."""
        blocks = (json.dumps(request.json["blocks"], ensure_ascii=False) for request in self.slack.accepted)
        mails = (mail.get_body(("plain",)).get_content() for mail in self.mail.mails)
        return {"slack": "\n".join(blocks), "email": "\n".join(mails)}


def repeated(ids: Iterable[str]) -> int:
    """How many messages came more than once."""
    return sum(count - 1 for count in Counter(ids).values())


def soaked(size: int) -> Week:
    """Live through the week with so many flags."""
    week = Week(size)
    with week.servers():
        week.live()
    return week


def main() -> None:
    """Print what became of the week in one line; exit with 1 where a promise is broken."""
    logging.disable()
    done = soaked(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
    doubles = sum(done.repeats.values())
    sys.stdout.write(
        f"kills {done.killed}, incidents {len(done.broken)}, messages {done.messages}, lost {done.lost}, "
        f"doubles {doubles} (under another id {done.told_again})\n"
    )
    sys.exit(1 if done.lost or done.told_again or doubles > done.killed else 0)


if __name__ == "__main__":
    main()
