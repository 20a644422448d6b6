"""Take the screenshots of the documentation from the demo project, in Dagster's own UI.

    make demo
    .venv/bin/python -m docs.make_screenshots

It needs Chromium (Debian: `apt-get install chromium`). The pictures land in docs/pictures/.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
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
from exd_dagster.definitions.alerting.sensor import load_states
from exd_dagster.demo.data import FLAGS
from exd_dagster.demo.project import KEYS
from tests.e2e.browser import Tab, browser
from tests.e2e.webserver import webserver

HOME = Path(__file__).parent.parent
LOCATION = "exd_demo"
SENT = datetime(2026, 3, 22, 4, tzinfo=timezone.utc)


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
    pad = Launchpad(base_url=server, location=LOCATION)
    answer = pad.answers([flag.id for flag in FLAGS if flag.key == "recommendations"], "*", SENT)[2]
    yield Shot("decision_launchpad", answer.address, "Launch Run", 640)
    for name, page, height in (("alert_email", html_body, 1100), ("alert_slack", _slack, 975)):
        file = HOME / ".demo" / f"{name}.html"
        file.write_text(page(alert(server)), encoding="utf-8")
        yield Shot(name, file.as_uri(), "recommendations", height, 720)


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
