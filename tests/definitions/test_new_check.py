"""A check is its file and a line in `CHECKS`: one that is added there reaches Dagster, trust and people."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import run_alert_sensor
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.decisions.asset import make_decision
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ConfigError
from exd_dagster.stats import audit_flag
from exd_dagster.stats.checks import CHECKS
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.verdict import Verdict
from tests.logs import HOUR, START, healthy, rows, write
from tests.stats.build import bins_of, draw

HOURS = 3
SENTENCE = "Fewer than a million units were counted."


def judge(case: Case) -> Verdict:
    few = case.closed.new_units.sum() < 1_000_000
    return Verdict(
        check="enough_units",
        verdict="fail" if few else "pass",
        severity="ERROR" if few else None,
        reason="few_units_for_us" if few else "",
        sentence=SENTENCE,
    )


ENOUGH_UNITS = Check(
    name="enough_units",
    question="Were a million units counted?",
    judge=judge,
    alert_type="ENOUGH_UNITS_TRIGGERED",
    wording=Wording(title="Too few units", heading="Units so far", meaning="Wait with results."),
)


@dataclass
class Audited:
    """Two healthy flags after one audit and one tick: `asks` lets the new check block, `plain` does not."""

    folder: Path
    ran: dg.ExecuteInProcessResult
    reported: list[Notification] = field(default_factory=list)

    def check(self, flag: str, name: str) -> dg.AssetCheckEvaluation:
        return next(
            each
            for each in self.ran.get_asset_check_evaluations()
            if each.asset_key.path[-1] == f"{flag}_bins" and each.check_name == name
        )

    @property
    def fired(self) -> list[Notification]:
        return [note for note in self.reported if note.reason == "fire"]


def flag(key: str, **changes: Any) -> FlagAudit:
    return FlagAudit(key=key, split={"control": 0.5, "treatment": 0.5}, start=START, **changes)


def audit_of(*flags: FlagAudit, folder: Path, reported: list[Notification]) -> dg.Definitions:
    return build_flag_audit_defs(
        flags,
        records=str(folder / "log" / "*.parquet"),
        store=DuckDBResource(database=str(folder / "bins.duckdb")),
        alerts=[CallbackAlerts(reported.append)],
        digest=False,
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder, reported = tmp_path_factory.mktemp("new"), []
    flags = [flag("asks", block_on=("enough_units",)), flag("plain")]
    heartbeat = rows("heartbeat", healthy(1), start=START + (HOURS + 2) * HOUR)
    write(folder / "log", *(rows(each.key, healthy(HOURS)) for each in flags), heartbeat)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setitem(CHECKS, ENOUGH_UNITS.name, ENOUGH_UNITS)
        defs = audit_of(*flags, folder=folder, reported=reported)
        chosen = dg.AssetSelection.assets(*bins_asset_keys(flags).values())
        job = dg.define_asset_job("all", chosen, executor_def=dg.in_process_executor)
        hours = [f"{START + hour * HOUR:%Y-%m-%d-%H:%M}" for hour in (0, HOURS - 1)]
        ran = (
            dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
            .resolve_job_def("all")
            .execute_in_process(instance=instance, tags=range_tags(*hours), raise_on_error=False)
        )
        run_alert_sensor(defs.get_sensor_def("exd_check_alerts"), instance, defs)
        yield Audited(folder, ran, reported)


def test_it_is_a_check_in_dagster_that_answers(audited: Audited) -> None:
    answer = audited.check("plain", "enough_units")
    assert (answer.passed, answer.description) == (False, SENTENCE)


def test_it_blocks_in_dagster_only_the_flag_that_asks_for_it(audited: Audited) -> None:
    answers = {name: audited.check(name, "enough_units") for name in ("asks", "plain")}
    assert {name: each.blocking for name, each in answers.items()} == {"asks": True, "plain": False}


def test_trust_fails_with_its_sentence_for_the_flag_that_asks_for_it(audited: Audited) -> None:
    said = {name: audited.check(name, "trust") for name in ("asks", "plain")}
    assert {name: each.passed for name, each in said.items()} == {"asks": False, "plain": True}
    assert said["asks"].description == f"Not trusted. {SENTENCE}"


def test_the_trust_row_names_it(audited: Audited) -> None:
    store = audited.folder / "bins.duckdb"
    rows = {name: trust(name, store) for name in ("asks", "plain")}
    assert {name: (row.trusted, row.failing) for name, row in rows.items()} == {
        "asks": (False, ("enough_units",)),
        "plain": (True, ()),
    }


def test_people_are_reported_of_the_flag_that_asks_for_it_alone(audited: Audited) -> None:
    (note,) = audited.fired
    assert [(each.flag.key, each.alert_type) for each in note.alerts] == [("asks", "ENOUGH_UNITS_TRIGGERED")]


def test_the_message_has_its_words(audited: Audited) -> None:
    (note,) = audited.fired
    assert note.message.headline == "Too few units on asks: few units for us"
    assert note.message.lead == "Wait with results."
    assert "Units so far" in [section.heading for section in note.message.sections]


@pytest.mark.parametrize(
    ("name", "near"), [("variant_integrit", "variant_integrity"), ("version_skew", ""), ("trust", "")]
)
def test_a_flag_cannot_let_a_check_block_that_there_is_not_or_that_only_informs(
    name: str, near: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"block_on: check that can block '{name}' is not defined.*{near}"):
        audit_of(flag("asks", block_on=(name,)), folder=tmp_path, reported=[])


def test_a_check_that_a_flag_may_let_block_can_be_waived() -> None:
    asked = {"kind": "waive", "flags": "asks", "checks": "variant_integrity", "reason": "known", "by": "ana"}
    until = {"until": (START + HOUR).isoformat()}
    assert make_decision({**asked, **until}, [flag("asks")], {}, START).checks == "variant_integrity"


def test_a_check_that_raises_is_not_checked_and_the_others_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(case: Case) -> Verdict:
        raise LookupError("no such hour")

    monkeypatch.setitem(CHECKS, "enough_units", replace(ENOUGH_UNITS, judge=broken))
    bins = bins_of(draw(5, 1000, (48, {"control": 0.5, "treatment": 0.5})))
    reported = audit_flag(flag("plain"), bins, checks=list(CHECKS.values()))
    assert (reported["enough_units"].verdict, reported["enough_units"].reason) == (
        "not_checked",
        "not_computable",
    )
    assert reported.srm.verdict == "pass"
