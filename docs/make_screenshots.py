"""Take the screenshots of the documentation from the demo project, in Dagster's own UI.

    make demo
    .venv/bin/python -m docs.make_screenshots

It needs Chromium (Debian: `apt-get install chromium`). The pictures land in docs/pictures/.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from docs.slack_preview import slack_html
from exd_dagster.alerts.channels.email_message import html_body
from exd_dagster.alerts.channels.slack.blocks import slack_blocks
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.answers import Launchpad
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.messages.links import Links
from exd_dagster.alerts.messages.message import Message
from exd_dagster.alerts.model import OutboxEntry
from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.audit.ledger_page import ledger_page
from exd_dagster.audit.rejudge import Tried
from exd_dagster.definitions.alerting.sensor import load_states
from exd_dagster.demo.data import FLAGS
from exd_dagster.demo.project import KEYS
from tests.e2e.browser import Tab, browser
from tests.e2e.webserver import webserver

HOME = Path(__file__).parent.parent
LOCATION = "exd_demo"
SENT = datetime(2026, 3, 22, 4, tzinfo=timezone.utc)


DAY = timedelta(days=1)
PAST = (
    ("recommendations", "srm", 1, 3, "", ""),
    ("payment-retry", "traffic_drop", 3, 6, "false", "campaign"),
    ("homepage-banner", "sequential_srm", 5, 2, "real", "cache"),
    ("payment-retry", "traffic_drop", 9, 5, "false", "campaign"),
    ("search-ranking", "srm", 12, 4, "expected", "rollout"),
    ("payment-retry", "traffic_drop", 16, 6, "real", "loader"),
    ("homepage-banner", "srm", 19, 2, "real", "cache"),
    ("dark-mode", "traffic_drop", 23, 7, "false", "holiday"),
)
"""Flag, check, days ago, hours until it was found, what it was, and its cause."""


class Shot(NamedTuple):
    """One picture: its name, the address it is taken from, words to wait for, its size and theme."""

    name: str
    address: str
    words: str
    height: int = 900
    width: int = 1440
    dark: bool = False


def shots(server: str) -> Iterator[Shot]:
    """List the pictures: the Dagster UI at `server`, then what lies in the demo's folder."""
    bins = {flag.key: f"{server}/assets/" + "/".join(KEYS[flag.id].path) for flag in FLAGS}
    srm = f"{bins['recommendations']}?view=checks&checkDetail=srm"
    drop = f"{bins['payment-retry']}?view=checks&checkDetail=traffic_drop"
    yield Shot("check_srm", srm, "treatment")
    yield Shot("check_srm_dark", srm, "treatment", dark=True)
    yield Shot("check_traffic_drop", drop, "traffic_drop")
    yield Shot("lineage_blocked", f"{bins['recommendations']}?view=lineage", "Passed", 640)
    yield Shot("overview", f"{bins['search-ranking']}?view=overview", "Latest materialization", 1000)
    group = f"{server}/locations/{LOCATION}/asset-groups/experiments/lineage"
    yield Shot("graph", group, "Passed", 1500)
    page = (HOME / ".demo" / "flag_trust.html").as_uri()
    yield Shot("trust_page", page, "Not trusted", 1000, 1100)
    yield Shot("trust_page_phone", page, "Not trusted", 844, 390)
    ledger = HOME / ".demo" / "ledger_example.html"
    ledger.write_text(_ledger(), encoding="utf-8")
    yield Shot("ledger_page", ledger.as_uri(), "Failing for nothing", 1420, 1200)
    pad = Launchpad(base_url=server, location=LOCATION)
    answer = pad.answers([flag.id for flag in FLAGS if flag.key == "recommendations"], "*", SENT)[2]
    yield Shot("decision_launchpad", answer.address, "Launch Run", 640)
    for name, page, height in (("alert_email", html_body, 1100), ("alert_slack", _slack, 975)):
        file = HOME / ".demo" / f"{name}.html"
        file.write_text(page(alert(server)), encoding="utf-8")
        yield Shot(name, file.as_uri(), "recommendations", height, 720)


def _ledger() -> str:
    """Return the page of the ledger after some weeks; the demo has no past, so these rows are made up."""
    names = {flag.key: flag.id for flag in FLAGS}
    rows = [
        LedgerRow(
            incident=sha256(f"{key}{number}".encode()).hexdigest()[:32],
            flag=names[key],
            check=check,
            opened_at=SENT - days * DAY,
            bad_from=SENT - days * DAY - timedelta(hours=hours),
            acknowledged_at=SENT - days * DAY + timedelta(minutes=9 * hours),
            resolved_at=None if days < 2 else SENT - days * DAY + timedelta(hours=4 * hours),
            blocked=True,
            verdict=verdict,
            cause=cause,
            answered_by="ana" if verdict else "",
        )
        for number, (key, check, days, hours, verdict, cause) in enumerate(PAST, start=1)
    ]
    found = Tried(
        check="traffic_drop",
        setting="evaluation_rate_anomaly.drop_fraction = 0.7",
        avoided=3,
        false=3,
        missed=0,
        real=1,
        gone=0,
    )
    return ledger_page(rows, {"traffic_drop": found}, written_at=SENT)


def alert(server: str) -> Message:
    """Return the message about the flag whose arm is dead, as the alert sensor of a daemon composes it."""
    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        state = load_states(instance)["exd_check_alerts"]
    incident = next(each for each in state.incidents.values() if each.flag.key == "recommendations")
    entry = OutboxEntry(
        id=incident.id,
        destination="slack",
        channel="slack",
        reason="fire",
        alerts=tuple(incident.alerts.values()),
        incidents=(incident.id,),
        created_at=SENT,
        next_attempt_at=SENT,
    )
    context = Context(
        links=Links(server, "day"),
        blocked={str(incident.flag): ["reports/recommendations_report"]},
        launchpad=Launchpad(base_url=server, location=LOCATION),
    )
    return compose(entry, state, context)


def _slack(message: Message) -> str:
    return slack_html(slack_blocks(message, buttons=True))


def take(tab: Tab, shot: Shot, folder: Path) -> Path:
    """Take one picture and return its file."""
    tab.resize(shot.width, shot.height, dark=shot.dark)
    tab.open(shot.address)
    tab.wait_for(shot.words)
    tab.wait_until_idle()
    path = folder / f"{shot.name}.png"
    tab.screenshot(path)
    return path


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description="Take the screenshots of the documentation.")
    parser.add_argument("--folder", type=Path, default=HOME / "docs" / "pictures")
    folder = parser.parse_args().folder
    if not (HOME / ".dagster").is_dir():
        sys.exit("there is no demo to show yet; run `make demo` first")
    folder.mkdir(parents=True, exist_ok=True)
    with webserver(HOME, "-w", "workspace.yaml") as server, browser() as tab:
        tab.open(server)
        tab.evaluate("localStorage.setItem('dagster-theme', '\"themeSystem\"')")
        for shot in shots(server):
            sys.stdout.write(f"{take(tab, shot, folder)}\n")


if __name__ == "__main__":
    main()
