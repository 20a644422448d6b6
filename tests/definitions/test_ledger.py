"""The asset `incident_ledger` on a real store, with what alerting and people have recorded."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.past import PastAlert, PastIncident
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.ledger import ledger_rows
from exd_dagster.alerts.state import StateStore
from exd_dagster.audit.ledger_page import ledger_page
from exd_dagster.audit.ledger_table import read_ledger, write_ledger
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import run_alert_sensor
from exd_dagster.definitions.decisions.asset import record_decision
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.internals import cursor_storage
from tests.fleet import Fleet
from tests.logs import HOUR, START, broken, healthy

HOURS = 6
END = START + HOURS * HOUR


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, {"good": healthy(HOURS), "bad": broken(HOURS)})


def incident(name: str, fleet: Fleet, at: timedelta = timedelta(0)) -> PastIncident:
    (flag,) = [flag for flag in fleet.flags if flag.key == "bad"]
    opened = END + at
    failing = PastAlert(check="srm", opened_at=opened, bad_from=START, audited_through=END, blocked=True)
    return PastIncident(id=name, flag=flag.id, opened_at=opened, resolved_at=opened + HOUR, alerts=(failing,))


def remember(instance: dg.DagsterInstance, *past: PastIncident) -> None:
    StateStore(cursor_storage(instance), FleetNames().alert_sensor).save(AlertState(past=past))


def close(instance: dg.DagsterInstance, verdict: str, incident: str) -> None:
    made = END + 3 * HOUR
    decision = Decision(
        kind="close", flags="bad", reason="", by="<ana>", made_at=made, until=made + HOUR, verdict=verdict,
        cause="cache", incident=incident,
    )  # fmt: skip
    record_decision(instance, decision)


def refresh(instance: dg.DagsterInstance, fleet: Fleet) -> dict[str, object]:
    """Run the job that follows an audit, and return the metadata of the ledger."""
    job = fleet.defs.resolve_job_def("exd_flag_trust")
    done = job.execute_in_process(instance=instance, raise_on_error=False)
    (made,) = [
        event.materialization
        for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("incident_ledger")
    ]
    return {name: entry.value for name, entry in made.metadata.items()}


def test_what_the_alert_sensor_saw_from_failure_to_correction_is_in_the_ledger(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """A real log, its audit and the alert sensor; then the records are corrected and audited again."""
    told: list[Notification] = []
    options = {"alerts": [CallbackAlerts(told.append)]}
    fleet = Fleet(tmp_path, {"bad": broken(HOURS)}, options=options)
    (sensor,) = [each for each in fleet.defs.sensors or () if each.name == FleetNames().alert_sensor]
    assert isinstance(sensor, dg.SensorDefinition)
    fleet.run(instance, fleet.bins)
    run_alert_sensor(sensor, instance)
    assert refresh(instance, fleet)["open"] == 1
    fleet.counts = {"bad": healthy(HOURS)}
    fleet.write()
    fleet.run(instance, fleet.bins)
    run_alert_sensor(sensor, instance)
    assert list(dict.fromkeys(note.reason for note in told)) == ["fire", "resolve"]
    assert refresh(instance, fleet)["open"] == 0
    with duckdb.connect(str(fleet.folder / "bins.duckdb")) as connection:
        rows = {row.check: row for row in read_ledger(connection)}
    assert {"srm", "sequential_srm"} <= set(rows)
    srm = rows["srm"]
    assert (srm.bad_from, srm.audited_through, srm.blocked) == (START, END, True)
    assert srm.delivered_at is not None
    assert srm.resolved_at is not None
    assert srm.resolved_at > srm.opened_at


def test_before_any_incident_it_says_so(instance: dg.DagsterInstance, fleet: Fleet) -> None:
    shown = refresh(instance, fleet)
    assert (shown["incidents"], shown["checks"]) == (0, "no incident yet")
    assert "No incident yet." in (fleet.folder / "incident_ledger.html").read_text()


def test_a_poor_check_is_named_with_what_would_have_avoided_its_failures(
    instance: dg.DagsterInstance, fleet: Fleet
) -> None:
    fleet.run(instance, fleet.bins)
    remember(instance, incident("one", fleet), incident("two", fleet, HOUR))
    close(instance, "false", "one")
    close(instance, "false", "two")
    shown = refresh(instance, fleet)
    said = (
        "2 of 2 answered failures of srm were false. No setting that was tried would have avoided any of 2."
    )
    assert str(shown["advice"]).replace("\\", "") == f"- {said}"
    assert said in (fleet.folder / "incident_ledger.html").read_text()


def test_rows_stay_after_alerting_has_forgotten_them(instance: dg.DagsterInstance, fleet: Fleet) -> None:
    remember(instance, incident("one", fleet))
    close(instance, "real", "one")
    refresh(instance, fleet)
    remember(instance, incident("two", fleet, HOUR))
    assert refresh(instance, fleet)["incidents"] == 2
    with duckdb.connect(str(fleet.folder / "bins.duckdb")) as connection:
        first, second = read_ledger(connection)
    assert (first.incident, first.verdict, first.cause) == ("one", "real", "cache")
    assert (second.incident, second.verdict) == ("two", "")


def test_the_job_runs_again_when_an_incident_or_an_answer_came_and_only_then(
    instance: dg.DagsterInstance, fleet: Fleet
) -> None:
    fleet.run(instance, fleet.bins)
    (sensor,) = [each for each in fleet.defs.sensors or () if each.name == "exd_flag_trust_sensor"]
    cursor, keys = None, []

    def looks() -> bool:
        nonlocal cursor
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            answer = sensor(context)
            cursor = context.cursor
        if isinstance(answer, dg.RunRequest):
            keys.append(answer.run_key)
        return isinstance(answer, dg.RunRequest)

    assert [looks(), looks()] == [True, False]
    remember(instance, incident("one", fleet))
    assert [looks(), looks()] == [True, False]
    close(instance, "real", "one")
    assert [looks(), looks()] == [True, False]
    assert len(set(keys)) == 3


def test_an_answer_replaces_the_row_of_its_incident_and_nothing_is_lost_in_the_table(fleet: Fleet) -> None:
    connection = duckdb.connect()
    (row,) = ledger_rows([incident("one", fleet)], [])
    write_ledger(connection, [row])
    answered = replace(row, verdict="expected", cause="launch", answered_by="ana", acknowledged_at=END)
    write_ledger(connection, [answered])
    assert read_ledger(connection) == [answered]


def test_the_page_escapes_what_people_wrote_and_loads_nothing(fleet: Fleet) -> None:
    made = END + 3 * HOUR
    bad = Decision(
        kind="close", flags="bad", reason="", by="<b>", made_at=made, until=made + HOUR, verdict="false",
        cause="<script>", incident="one",
    )  # fmt: skip
    page = ledger_page(ledger_rows([incident("one", fleet)], [bad]), {}, written_at=made)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
