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
    """One picture: its name, the address under the server, words to wait for, height and theme."""

    name: str
    path: str
    words: str
    height: int = 900
    dark: bool = False


def shots() -> Iterator[Shot]:
    """List the pictures of the Dagster UI."""
    bins = {flag.key: "/assets/" + "/".join(KEYS[flag.id].path) for flag in FLAGS}
    for check, key in (("srm", "recommendations"), ("traffic_drop", "payment-retry")):
        path = f"{bins[key]}?view=checks&checkDetail={check}"
        yield Shot(f"check_{check}", path, "Latest execution")
        yield Shot(f"check_{check}_dark", path, "Latest execution", dark=True)
    yield Shot("lineage_blocked", f"{bins['recommendations']}?view=lineage", "recommendations_report", 640)
    yield Shot(
        "lineage_healthy", f"{bins['new-checkout-flow']}?view=lineage", "new_checkout_flow_report", 640
    )
    yield Shot("overview", f"{bins['search-ranking']}?view=overview", "Latest materialization", 1000)
    yield Shot("graph", f"/locations/{LOCATION}/asset-groups/experiments/lineage", "Asset checks", 1500)


def take(tab: Tab, address: str, shot: Shot, folder: Path) -> Path:
    """Take one picture and return its file."""
    tab.resize(1440, shot.height, dark=shot.dark)
    tab.open(address + shot.path)
    tab.wait_for(shot.words)
    tab.settle()
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
    with webserver(HOME, "-w", "workspace.yaml") as address, browser() as tab:
        tab.resize(1440, 900)
        tab.open(address)
        tab.evaluate("localStorage.setItem('dagster-theme', '\"themeSystem\"')")
        for shot in shots():
            sys.stdout.write(f"{take(tab, address, shot, folder)}\n")


if __name__ == "__main__":
    main()
