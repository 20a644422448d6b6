"""A bad week in seconds: 500 flags, every kind of refusal, and a daemon that is killed at random."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from exd_dagster.alerts.callback import Callback
from exd_dagster.alerts.email import Smtp
from exd_dagster.alerts.model import CheckState
from exd_dagster.alerts.sender import Notification
from exd_dagster.alerts.slack import SlackBot
from exd_dagster.alerts.webhook import Webhook
from tests.alerts.make import check
from tests.alerts.office import KilledError, Office
from tests.servers.http import HttpServer, Received, Reply, slack_answers, slack_refuses
from tests.servers.smtp import SmtpServer

FLAGS, OWNERS, KILLS, SEED = 500, 20, 20, 20260305
CHECKS = ("srm", "sequential_srm", "traffic_drop")
PASSING_TROUBLE = [
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
    *PASSING_TROUBLE,
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


def fleet(chance: random.Random) -> dict[str, list[CheckState]]:
    """500 flags of 20 owners; 40 % fail in one to three checks, some of the others say nothing."""
    flags = {}
    for index in range(FLAGS):
        key, owners = f"flag-{index:03d}", (f"team:t{index % OWNERS}",)
        failing = set(chance.sample(CHECKS, chance.randint(1, 3))) if chance.random() < 0.4 else set()
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


def test_a_bad_week_loses_nothing_repeats_at_most_once_per_kill_and_tells_nothing_well_that_is_not():
    chance = random.Random(SEED)
    flags = fleet(chance)
    broken = {key for key, checks in flags.items() if any(c.verdict == "fail" for c in checks)}
    mended = {key for key in sorted(broken) if chance.random() < 0.3}
    slack = Flaky(chance, SLACK_TROUBLE, slack_answers)
    web = Flaky(chance, PASSING_TROUBLE, lambda _: Reply())
    told: list[Notification] = []

    def callback(notification: Notification) -> None:
        if chance.random() < 0.05:
            raise RuntimeError("no luck")
        told.append(notification)

    with (
        HttpServer(default=slack) as slack_server,
        HttpServer(default=web) as web_server,
        HttpServer(default=Reply(410)) as gone,
        SmtpServer() as mail,
    ):
        local = ("127.0.0.1",)
        office = Office(
            SlackBot(name="slack", token="t", conversation="#a", base_url=f"{slack_server.url}/api/"),
            Smtp(
                name="email", host="127.0.0.1", port=mail.port, sender="e@x.org", to=("a@x.org",), tls="none"
            ),
            Webhook(name="web", url=web_server.url, allow_hosts=local),
            Webhook(name="gone", url=gone.url, allow_hosts=local),
            Callback(name="callback", function=callback),
        )
        killed = 0
        for tick in range(400):
            if killed < KILLS and chance.random() < 0.5:
                office.storage.die_at = office.storage.writes + chance.randint(1, 12)
            mail.refuse = {"*": chance.choice(["451 later", "421 busy"])} if chance.random() < 0.4 else {}
            if tick == 30:
                for key in mended:
                    flags[key] = [check(c.check, "pass", key=key, owners=c.owners) for c in flags[key]]
            if tick == 55:
                slack.bad = web.bad = 0.0
            try:
                office.tick(*(c for checks in flags.values() for c in checks), after=timedelta(minutes=4))
            except KilledError:
                killed += 1
            if tick > 60 and not office.state.outbox:
                break
    assert killed == KILLS
    assert office.state.outbox == ()
    hooks = [request.json for request in web.accepted]
    fired = {(h["details"]["flag"], h["details"]["check"]) for h in hooks if h["reason"] == "fire"}
    planted = {
        (key, c.check)
        for key, checks in fleet(random.Random(SEED)).items()
        for c in checks
        if c.verdict == "fail"
    }
    assert fired == planted
    assert {h["details"]["flag"] for h in hooks if h["reason"] == "resolve"} == mended
    texts = {
        "slack": "\n".join(
            json.dumps(request.json["blocks"], ensure_ascii=False) for request in slack.accepted
        ),
        "email": "\n".join(mail_text(mail) for mail in mail.mails),
    }
    for text in texts.values():
        assert {key for key in flags if key in text} <= broken
    sent = {
        (row.destination, row.flag.key)
        for row in office.deliveries()
        if row.status == "sent" and row.reason == "fire"
    }
    for destination in ("slack", "email", "web", "callback"):
        assert {key for name, key in sent if name == destination} == broken
    notices = [n.message.headline for n in told] + [h["message"] for h in hooks] + list(texts.values())
    assert any("to gone" in notice for notice in notices)
    repeats = {
        "web": repeated(h["id"] for h in hooks),
        "slack": repeated(
            FOOTER.findall(json.dumps(r.json["blocks"], ensure_ascii=False))[0]
            for r in slack.accepted
            if r.path.endswith("postMessage")
        ),
        "email": repeated(str(m["Message-ID"]) for m in mail.mails),
        "callback": repeated(n.id for n in told),
    }
    assert sum(repeats.values()) <= killed, repeats


def mail_text(mail) -> str:
    return mail.get_body(("plain",)).get_content()


def repeated(ids) -> int:
    """How many messages came more than once."""
    return sum(count - 1 for count in Counter(ids).values())
