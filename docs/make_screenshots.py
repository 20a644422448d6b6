"""Take the screenshots of the documentation from the demo project, in Dagster's own UI.

    make demo
    .venv/bin/python -m docs.make_screenshots

It needs Chromium (Debian: `apt-get install chromium`). The pictures land in docs/pictures/.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from exd_dagster.demo.data import FLAGS
from exd_dagster.demo.project import KEYS
from tests.e2e.browser import Tab, browser
from tests.e2e.webserver import webserver

HOME = Path(__file__).parent.parent
LOCATION = "exd_demo"


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
    yield Shot("check_srm", srm, "SRM: treatment got")
    yield Shot("check_srm_dark", srm, "SRM: treatment got", dark=True)
    yield Shot("check_traffic_drop", drop, "Traffic fell to")
    yield Shot("lineage_blocked", f"{bins['recommendations']}?view=lineage", "Passed", 640)
    yield Shot("overview", f"{bins['search-ranking']}?view=overview", "Latest materialization", 1000)
    group = f"{server}/locations/{LOCATION}/asset-groups/experiments/lineage"
    yield Shot("graph", group, "Passed", 1500)
    yield Shot("trust_page", (HOME / ".demo" / "flag_trust.html").as_uri(), "Not trusted", 1000, 1100)
    for mail in sorted((HOME / ".demo" / "inbox" / "email").glob("*-recommendations-*.html"))[:1]:
        yield Shot("alert_email", mail.as_uri(), "recommendations", 900, 680)


def take(tab: Tab, shot: Shot, folder: Path) -> Path:
    """Take one picture and return its file."""
    tab.resize(shot.width, shot.height, dark=shot.dark)
    tab.open(shot.address)
    tab.wait_for(shot.words)
    tab.record_outcome()
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
