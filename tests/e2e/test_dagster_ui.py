"""What an operator does in Dagster's own UI, on a real `dagster dev`: see the fault, be refused, decide."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.messages.answers import Launchpad
from exd_dagster.demo.data import FLAGS
from exd_dagster.demo.project import KEYS, report_key
from tests.e2e.browser import Tab, browser, eventually, find_chromium
from tests.e2e.conftest import Demo
from tests.e2e.webserver import webserver

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]

LOCATION = "/locations/exd_demo"
BINS = {flag.key: KEYS[flag.id] for flag in FLAGS}
BAD = BINS["recommendations"]
REPORT = report_key(BAD)
DECISION = {
    "kind": "waive",
    "flags": "recommendations",
    "reason": "known",
    "by": "ada",
    "until": "2199-01-01",
}


@dataclass
class Ui:
    """A browser tab on a running `dagster dev` of the demo."""

    tab: Tab
    server: str
    instance: dg.DagsterInstance
    home: Path

    def open(self, path: str, words: str) -> None:
        self.tab.open(self.server + path)
        self.tab.wait_for(words)
        self.tab.wait_until_idle()

    def asset(self, key: dg.AssetKey, view: str, words: str) -> None:
        self.open(f"/assets/{'/'.join(key.path)}?view={view}", words)

    def launch(self, button: str) -> dg.DagsterRun:
        """Press a button that launches a run, follow it to its page, and return it once it is over."""
        self.tab.click(button)
        self.tab.click("View")
        self.tab.wait_until("location.pathname.startsWith('/runs/')")
        run_id = self.tab.evaluate("location.pathname.split('/')[2]")
        eventually(lambda: self.run(run_id).is_finished, f"the end of run {run_id}", 120)
        return self.run(run_id)

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def report_is_built(self) -> bool:
        return self.instance.get_latest_materialization_event(REPORT) is not None


@pytest.fixture(scope="module")
def ui(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = shutil.copytree(demo.home, tmp_path_factory.mktemp("ui"), dirs_exist_ok=True)
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.chdir(home)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        server = stack.enter_context(webserver(home, "-w", "workspace.yaml", daemon=True))
        tab = stack.enter_context(browser(1440, 1900))
        yield Ui(tab, server, instance, home)


def test_the_graph_shows_failed_checks_on_the_failing_flags_only(ui: Ui) -> None:
    ui.open(f"{LOCATION}/asset-groups/experiments/lineage", "search_ranking_bins")
    nodes = "[...document.querySelectorAll('foreignObject')]"
    marks = "[...node.querySelectorAll('a[href$=\"view=checks\"] [role=img]')].map(icon => icon.ariaLabel)"
    shown = dict(ui.tab.evaluate(f"{nodes}.map(node => [node.textContent, {marks}])"))
    failing = {
        key
        for key, bins in BINS.items()
        for text in shown
        if "close" in shown[text] and bins.path[-1] in text
    }
    passing = {key for key, bins in BINS.items() for text in shown if bins.path[-1] in text} - failing
    assert failing == {"homepage-banner", "recommendations", "payment-retry"}
    assert passing == {"new-checkout-flow", "search-ranking", "dark-mode", "address-lookup"}


def test_materialize_all_asks_for_partitions_and_for_nothing_else(ui: Ui) -> None:
    ui.open(f"{LOCATION}/asset-groups/experiments/lineage", "search_ranking_bins")
    assets = len(FLAGS) + 2  # the bins, flag_trust and incident_ledger
    ui.tab.click(f"Materialize all ({assets})…")
    ui.tab.wait_for(f"Launch runs to materialize {assets} assets")
    ui.tab.click("All")
    ui.tab.wait_for("Launch backfill")
    assert "Missing required config" not in str(ui.tab.evaluate("document.body.innerText"))


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            "srm",
            "treatment gets no unit since 2026-03-12 14:00 UTC. SRM: treatment got 34 % of 100,854 units",
        ),
        (
            "sequential_srm",
            "treatment gets no unit since 2026-03-12 14:00 UTC. Split broke: treatment got 0 %",
        ),
        ("trust", "Not trusted. treatment gets no unit since 2026-03-12 14:00 UTC. SRM: treatment got 34 %"),
    ],
)
def test_a_check_opens_with_its_sentence_and_its_picture_without_a_click(
    ui: Ui, check: str, sentence: str
) -> None:
    ui.asset(BAD, f"checks&checkDetail={check}", sentence)
    assert "Show more" not in str(ui.tab.evaluate("document.body.innerText"))
    words = json.dumps(sentence)
    latest = f"[...document.querySelectorAll('p')].find(p => p.innerText.startsWith({words}))"
    picture = "[...document.images].find(i => i.src.startsWith('data:image/svg'))"
    assert ui.tab.evaluate(f"{picture}.naturalWidth") == 640
    assert ui.tab.evaluate(
        f"{latest}.getBoundingClientRect().bottom <= {picture}.getBoundingClientRect().top"
    )


@pytest.mark.parametrize(("check", "shield"), [("trust", "shield_check"), ("version_skew", "shield")])
def test_a_check_that_blocks_carries_the_shield_of_one(ui: Ui, check: str, shield: str) -> None:
    ui.asset(BAD, f"checks&checkDetail={check}", "asset check.")
    shields = "[...document.querySelectorAll('[aria-label^=shield]')].map(icon => icon.ariaLabel)"
    assert ui.tab.evaluate(shields) == [shield]


def test_a_blocked_report_launched_from_its_page_fails_with_the_reason(ui: Ui) -> None:
    ui.asset(REPORT, "overview", "Materialize")
    assert ui.launch("Materialize").is_failure
    ui.tab.wait_for(
        "Blocked by the flag audit. experiments/shop/production/recommendations_bins: Not trusted."
    )
    assert not ui.report_is_built()


def editor(ui: Ui) -> str:
    return str(ui.tab.evaluate("document.querySelector('.CodeMirror').CodeMirror.getValue()"))


def decided(ui: Ui) -> list[dg.DagsterRun]:
    """Every run of the job that records decisions, newest first."""
    return list(ui.instance.get_runs(dg.RunsFilter(job_name="flag_decision")))


def test_the_link_of_an_alert_opens_the_launchpad_filled_in_and_is_refused_without_a_name(ui: Ui) -> None:
    pad = Launchpad(base_url=ui.server, location="exd_demo")
    flag = next(flag.id for flag in FLAGS if flag.key == "recommendations")
    link = pad.answers([flag], "srm", datetime.now(timezone.utc))[0].address
    ui.tab.open(link)
    ui.tab.wait_for("Launch Run")
    ui.tab.wait_until_idle()
    for line in (
        'kind: "acknowledge"',
        'flags: "shop/production/recommendations"',
        'checks: "srm"',
        'by: ""',
    ):
        assert line in editor(ui)
    before = len(decided(ui))
    ui.tab.click("Launch Run")
    eventually(lambda: len(decided(ui)) > before and decided(ui)[0].is_finished, "a refused decision", 120)
    assert decided(ui)[0].is_failure

    ui.tab.open(pad.filled_in({**DECISION, "kind": "acknowledge"}))
    ui.tab.wait_for("Launch Run")
    ui.tab.wait_until_idle()
    assert 'by: "ada"' in editor(ui)
    ui.tab.click("Launch Run")
    eventually(lambda: len(decided(ui)) > before + 1 and decided(ui)[0].is_finished, "a decision", 120)
    assert decided(ui)[0].is_success


def test_the_link_of_an_alert_launches_nothing_where_dagster_does_not_let_its_user(ui: Ui) -> None:
    with webserver(ui.home, "-w", "workspace.yaml", "--read-only") as server:
        ui.tab.open(Launchpad(base_url=server, location="exd_demo").filled_in(DECISION))
        ui.tab.wait_for("flag_decision")
        ui.tab.wait_until_idle()
        assert "Launch Run" not in str(ui.tab.evaluate("document.body.innerText"))


def test_a_decision_made_in_the_launchpad_lets_the_report_run(ui: Ui) -> None:
    """The daemon repeats the checks by itself once the decision is recorded."""
    ui.open(f"{LOCATION}/jobs/flag_decision", "Launchpad")
    ui.tab.click("Launchpad")
    ui.tab.wait_for("Launch Run")
    config = {"ops": {"flag_decisions": {"config": DECISION}}}
    ui.tab.evaluate(
        f"document.querySelector('.CodeMirror').CodeMirror.setValue({json.dumps(json.dumps(config))})"
    )
    ui.tab.wait_until_idle()
    before = len(decided(ui))
    ui.tab.click("Launch Run")
    eventually(lambda: len(decided(ui)) > before, "a run of flag_decision")
    ui.asset(BAD, "checks&checkDetail=trust", "Latest execution")
    ui.tab.wait_for("Waived by ada until 2199-01-01", 180)

    ui.asset(REPORT, "overview", "Materialize")
    assert ui.launch("Materialize").is_success
    assert ui.report_is_built()
    assert (ui.home / ".demo" / "reports" / "recommendations.csv").exists()
