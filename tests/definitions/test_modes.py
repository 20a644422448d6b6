"""What `observe`, `warn` and `block` mean: one failing flag in each, from the check to the notification."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.audit.trust import Waiver, apply_mode, trust_verdict, withheld
from exd_dagster.config import FlagAudit, Mode
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import load_states, run_alert_sensor
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.stats.verdict import Verdict
from tests.fleet import built
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 4
MODES: tuple[Mode, ...] = ("observe", "warn", "block")


@dataclass
class Watched:
    """Three flags with the same fault, each in a mode of its own; the flag is called after it."""

    folder: Path
    instance: dg.DagsterInstance
    reported: list[Notification] = field(default_factory=list)
    shut: list[Notification] = field(default_factory=list)

    def __post_init__(self) -> None:
        split = {"control": 0.5, "treatment": 0.5}
        self.flags = [FlagAudit(key=mode, split=split, start=START, mode=mode) for mode in MODES]
        self.bins = {
            flag.key: key for flag, key in zip(self.flags, bins_asset_keys(self.flags).values(), strict=True)
        }
        audit = build_flag_audit_defs(
            self.flags,
            records=str(self.folder / "log" / "*.parquet"),
            store=DuckDBResource(database=str(self.folder / "bins.duckdb")),
            alerts=[CallbackAlerts(self.reported.append)],
            on_shutoff=CallbackAlerts(self.shut.append, name="flags"),
            digest=["callback"],
        )
        reports = [self._report(mode) for mode in MODES]
        self.defs = dg.Definitions.merge(audit, dg.Definitions(assets=reports))

    def _report(self, mode: str) -> dg.AssetsDefinition:
        @dg.asset(name=f"{mode}_report", deps=[self.bins[mode]])
        def report() -> None: ...

        return report

    def audit(self, counts: list) -> dg.ExecuteInProcessResult:
        """Audit a log in which every flag has these counts, build the reports, and tell."""
        heartbeat = rows("heartbeat", healthy(1), start=START + (HOURS + 2) * HOUR)
        write(self.folder / "log", *(rows(mode, counts) for mode in MODES), heartbeat)
        job = dg.define_asset_job(
            "all",
            dg.AssetSelection.assets(*self.bins.values()).downstream(),
            executor_def=dg.in_process_executor,
        )
        hours = [f"{START + hour * HOUR:%Y-%m-%d-%H:%M}" for hour in (0, HOURS - 1)]
        ran = (
            dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
            .resolve_job_def("all")
            .execute_in_process(instance=self.instance, tags=range_tags(*hours), raise_on_error=False)
        )
        run_alert_sensor(self.defs.get_sensor_def("exd_check_alerts"), self.instance, self.defs)
        return ran

    def flags_reported(self, reason: str) -> set[str]:
        """Return the flags told of for a reason."""
        return {alert.flag.key for note in self.reported if note.reason == reason for alert in note.alerts}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, dg.ExecuteInProcessResult]]:
    with dg.DagsterInstance.ephemeral() as instance:
        watched = Watched(tmp_path_factory.mktemp("modes"), instance)
        yield watched, watched.audit(broken(HOURS))


@pytest.fixture
def watched(story: tuple[Watched, dg.ExecuteInProcessResult]) -> Watched:
    return story[0]


@pytest.fixture
def ran(story: tuple[Watched, dg.ExecuteInProcessResult]) -> dg.ExecuteInProcessResult:
    return story[1]


def check(ran: dg.ExecuteInProcessResult, mode: str, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [
        each
        for each in ran.get_asset_check_evaluations()
        if each.asset_key.path[-1] == f"{mode}_bins" and each.check_name == name
    ]
    return found


def test_the_failure_is_red_in_mode_block_and_a_warning_in_the_others(ran) -> None:
    shown = {mode: (check(ran, mode, "srm").passed, check(ran, mode, "srm").severity.value) for mode in MODES}
    assert shown == {"observe": (False, "WARN"), "warn": (False, "WARN"), "block": (False, "ERROR")}


def test_only_mode_block_stops_the_report(ran) -> None:
    assert {name for name in built(ran) if name.endswith("_report")} == {"observe_report", "warn_report"}


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_trust_passes_and_says_what_would_have_been(ran, mode) -> None:
    answer = check(ran, mode, "trust")
    assert answer.passed
    assert str(answer.description).startswith(f"Would have blocked (mode {mode}). ")


def test_flag_trust_withholds_the_blocking_flag_alone(watched) -> None:
    store = watched.folder / "bins.duckdb"
    assert {mode: trust(mode, store).trusted for mode in MODES} == {
        "observe": True,
        "warn": True,
        "block": False,
    }


def test_warn_and_block_are_reported_at_once_and_observe_is_not(watched) -> None:
    assert watched.flags_reported("fire") == {"warn", "block"}
    assert set(load_states(watched.instance)["exd_check_alerts"].incidents) == {"warn", "block"}


def test_the_message_of_mode_warn_says_that_nothing_is_blocked(watched) -> None:
    message = next(
        n.message for n in watched.reported if n.reason == "fire" and n.alerts[0].flag.key == "warn"
    )
    facts = {label: said for section in message.sections for label, said in section.facts}
    assert facts["Blocked"] == "nothing: this flag is audited in mode warn"


def test_the_shutoff_hook_is_asked_for_the_blocking_flag_alone(watched) -> None:
    assert {alert.flag.key for note in watched.shut for alert in note.alerts} == {"block"}


def test_the_digest_lists_what_would_have_blocked(watched) -> None:
    (digest,) = [note.message for note in watched.reported if note.reason == "digest"]
    assert digest.headline.startswith("2 of 3 flags failing, 1 would have blocked")
    listed = {section.heading: section.points for section in digest.sections if section.points}
    (line,) = listed["Would have blocked"]
    assert line.startswith("observe: ")
    assert "blocks nothing in mode observe" in line


def test_what_passes_again_is_resolved_in_mode_warn_as_in_mode_block(watched) -> None:
    watched.audit(healthy(HOURS))
    assert watched.flags_reported("resolve") == {"warn", "block"}


class TestWeakFailure:
    """A failure that blocks in no mode is a warning in every one, and would not have blocked."""

    VERDICT = Verdict(check="srm", verdict="fail", severity="WARN", sentence="p < .001 alone.")

    @pytest.mark.parametrize("mode", MODES)
    def test_it_would_have_blocked_nothing(self, mode: Mode) -> None:
        held = withheld([self.VERDICT], mode, {})
        answer = trust_verdict([apply_mode(self.VERDICT, mode)], mode, {}, held)
        assert (held, answer.sentence) == ((), "Trusted, with a warning. p < .001 alone.")


def test_a_failure_that_a_person_waived_would_not_have_blocked() -> None:
    failed = Verdict(check="srm", verdict="fail", severity="ERROR", sentence="SRM.")
    waived = Waiver("ana", START + HOUR, "known")
    assert withheld([failed], "warn", {"srm": None}) == ("srm",)
    assert withheld([failed], "warn", {"srm": waived}) == ()
