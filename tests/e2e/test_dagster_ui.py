"""What an operator sees in Dagster's own UI: a failed check with its picture, and a guard that holds."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.checks import check_keys
from exd_dagster.decisions import decision_basis, make_decision, record_decision
from exd_dagster.gate import blocked_by
from tests.e2e.browser import Tab, browser, eventually, find_chromium
from tests.e2e.webserver import ROOT, webserver
from tests.fleet import Fleet
from tests.logs import broken, healthy

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]

HOURS = 6
DEFINITIONS = """
from pathlib import Path

from tests.e2e.test_dagster_ui import make_fleet

defs = make_fleet(Path({folder!r})).defs
"""


def make_fleet(folder: Path) -> Fleet:
    return Fleet(folder, {"good": healthy(HOURS), "bad": broken(HOURS)}, guard=blocked_by)


@dataclass
class Ui:
    """A browser tab on a running `dagster dev`, whose flags have been audited once."""

    tab: Tab
    server: str
    fleet: Fleet
    instance: dg.DagsterInstance

    def open(self, path: str, words: str) -> None:
        self.tab.open(self.server + path)
        self.tab.wait_for(words)
        self.tab.settle()

    def press(self, button: str, page: str) -> dg.DagsterRun:
        """Press a button that launches a run, and return the run once it is over."""
        before = self.instance.get_runs_count()
        self.open(page, button)
        self.tab.click(button)
        eventually(lambda: self.instance.get_runs_count() > before, f"a run by {button} on {page}")
        eventually(lambda: self.instance.get_runs(limit=1)[0].is_finished, "the end of the run", 120)
        return self.instance.get_runs(limit=1)[0]

    @property
    def text(self) -> str:
        return str(self.tab.evaluate("document.body.innerText"))


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", home)
    (home / "definitions.py").write_text(DEFINITIONS.format(folder=str(home / "project")))
    fleet = make_fleet(home / "project")
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.chdir(home)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        fleet.run(instance, fleet.bins)
        server = stack.enter_context(webserver(home, "-f", "definitions.py", daemon=True))
        tab = stack.enter_context(browser(1440, 1000))
        yield Ui(tab, server, fleet, instance)


def test_the_graph_shows_failed_checks_on_the_failing_flag_only(ui: Ui) -> None:
    ui.open("/assets/experiments/bad_bins?view=lineage", "bad_report")
    assert "4 / 7 Passed" in ui.text
    ui.open("/assets/experiments/good_bins?view=lineage", "good_report")
    assert "7 / 7 Passed" in ui.text


def test_a_check_opens_with_its_sentence_and_its_picture_without_a_click(ui: Ui) -> None:
    ui.open("/assets/experiments/bad_bins?view=checks&checkDetail=srm", "Latest execution")
    assert "This is a blocking asset check." in ui.text
    assert "SRM: treatment got" in ui.text
    widths = "[...document.images].filter(i => i.src.startsWith('data:image/svg')).map(i => i.naturalWidth)"
    assert ui.tab.evaluate(widths) == [640]


def test_a_blocked_report_launched_by_hand_fails_with_the_reason_until_a_person_waives(ui: Ui) -> None:
    run = ui.press("Materialize", "/assets/bad_report?view=overview")
    assert run.is_failure
    ui.open(f"/runs/{run.run_id}", "Blocked by the flag audit.")
    assert "SRM: treatment got" in ui.text

    waive(ui.fleet, ui.instance)
    ui.press("Execute all", "/assets/experiments/bad_bins?view=checks&checkDetail=trust")
    ui.open("/assets/experiments/bad_bins?view=checks&checkDetail=trust", "Waived by ada")
    assert ui.press("Materialize", "/assets/bad_report?view=overview").is_success


def waive(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    monitored = {check: flag for flag in fleet.flags for check in check_keys(fleet.keys[flag.key]).values()}
    asked = {
        "kind": "waive",
        "flags": "bad",
        "checks": "*",
        "reason": "known",
        "by": "ada",
        "until": "2999-01-01",
    }
    basis = decision_basis(instance, monitored)
    record_decision(instance, make_decision(asked, fleet.flags, basis, datetime.now(timezone.utc)))
