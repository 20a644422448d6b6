"""A store and an alerting state written by an earlier version are read, and go on where it stopped."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.webhook import WEBHOOK
from exd_dagster.alerts.model import AlertState, Channel
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.bins.store import BinStore
from exd_dagster.bins.store.schema import FORMAT
from exd_dagster.config import FlagAudit
from exd_dagster.stats import audit_flag
from exd_dagster.stats.checks import CHECKS
from tests.alerts.alerting import Office
from tests.alerts.make import check
from tests.logs import HOUR, START, broken, healthy, rows, write

FIXTURES = Path(__file__).with_name("fixtures")
VERSIONS = ("format_2", "format_3", "format_4")
STATES = (*VERSIONS, "state_3", "state_5")
"""An alerting state of every version from the first to the last but one."""
HOURS, NEXT = 30, 24
FLAGS = [FlagAudit(key=key, split={"control": 0.5, "treatment": 0.5}, start=START) for key in ("good", "bad")]


def night(store: BinStore, hours: int) -> None:
    """Count the log through so many hours, as the audit of that night does."""
    end = START + hours * HOUR
    store.update("log/*.parquet", FLAGS, end - NEXT * HOUR, end, now=end + 3 * HOUR)


def answers(store: BinStore) -> dict[str, list[object]]:
    """Every verdict of every flag."""
    read = {flag.key: store.read(flag) for flag in FLAGS}
    checks = list(CHECKS.values())
    return {flag.key: list(audit_flag(flag, read[flag.key], checks=checks)) for flag in FLAGS}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log the earlier version counted, a day later: `bad` is corrected, as `good` breaks."""
    monkeypatch.chdir(tmp_path)
    total = HOURS + NEXT
    beat = rows("heartbeat", healthy(1, 1), start=START + (total + 1) * HOUR)
    good = rows("good", [*healthy(HOURS), *broken(NEXT)])
    bad = rows("bad", [*broken(HOURS), *healthy(NEXT)])
    write(tmp_path / "log", good, bad, beat)


@pytest.fixture(params=VERSIONS)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the store that an earlier version wrote."""
    shutil.copy(FIXTURES / request.param / "store.duckdb", tmp_path / "store.duckdb")
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        yield connection


def test_a_store_of_an_earlier_format_is_migrated_when_it_is_opened(
    earlier: duckdb.DuckDBPyConnection,
) -> None:
    BinStore(earlier)
    assert earlier.execute("SELECT format FROM exd_meta").fetchall() == [(FORMAT,)]


def test_its_bins_are_those_that_were_counted(earlier: duckdb.DuckDBPyConnection) -> None:
    units = {flag.key: BinStore(earlier).read(flag).new_units.sum(axis=0).tolist() for flag in FLAGS}
    assert units == {"good": [20 * HOURS, 20 * HOURS], "bad": [40 * HOURS, HOURS]}


def test_the_audit_of_the_next_night_equals_that_of_a_new_store(
    earlier: duckdb.DuckDBPyConnection, log: None
) -> None:
    before, fresh = BinStore(earlier), BinStore(duckdb.connect())
    night(before, HOURS + NEXT)
    fresh.update(
        "log/*.parquet", FLAGS, START, START + (HOURS + NEXT) * HOUR, now=START + (HOURS + NEXT + 3) * HOUR
    )
    assert answers(before) == answers(fresh)
    assert {key: reported[0].verdict for key, reported in answers(before).items()} == {
        "good": "fail",
        "bad": "fail",
    }


def test_the_next_night_goes_on_from_the_hours_that_were_counted(
    earlier: duckdb.DuckDBPyConnection, log: None
) -> None:
    store = BinStore(earlier)
    before = store.read(FLAGS[0]).audited_through
    night(store, HOURS + NEXT)
    after = store.read(FLAGS[0]).audited_through
    assert (before, after) == (START + HOURS * HOUR, START + (HOURS + NEXT) * HOUR)


@dataclass
class Destination:
    """Takes every message."""

    name: str
    channel: Channel = WEBHOOK
    timeout: float = 5.0
    taken: list[Notification] = field(default_factory=list)

    def send(self, notification: Notification, now: datetime) -> Outcome:
        self.taken.append(notification)
        return Outcome(status="sent")

    @property
    def reported(self) -> list[tuple[str, str]]:
        return sorted((note.reason, alert.flag.key) for note in self.taken for alert in note.alerts)


@pytest.fixture(params=STATES)
def written(request: pytest.FixtureRequest) -> str:
    """The state after two ticks: `up` was reported of `checkout` and `gone`, which then left; `down` not."""
    return (FIXTURES / request.param / "state.json").read_text(encoding="utf-8")


@pytest.fixture
def office(written: str) -> Office:
    """The sensor of today with that state, an hour later and with both destinations back."""
    office = Office(Destination("up"), Destination("down"))
    office.storage.values["exd_dagster/alerts/test"] = written
    office.now += HOUR
    return office


def sent_by(office: Office, name: str) -> list[tuple[str, str]]:
    destination = office.setup.senders[name]
    assert isinstance(destination, Destination)
    return destination.reported


def test_there_is_a_state_of_every_version_before_this_one() -> None:
    states = [json.loads((FIXTURES / name / "state.json").read_text()) for name in STATES]
    assert sorted(state["version"] for state in states) == list(range(1, AlertState().version))


def test_a_state_of_an_earlier_version_is_read_as_one_of_today(office: Office) -> None:
    assert office.state.version == AlertState().version
    assert set(office.state.incidents) == {"checkout"}


def test_nothing_that_was_sent_before_is_sent_again(office: Office) -> None:
    before = len([receipt for receipt in office.state.receipts if receipt.status == "sent"])
    office.tick(check("srm"))
    assert before == 3
    assert sent_by(office, "up") == []


def test_nothing_that_waited_is_lost_and_it_keeps_its_id(office: Office, written: str) -> None:
    raw = json.loads(written)
    waited = {entry["id"] for entry in raw["outbox"]}
    office.tick(check("srm"))
    down = office.setup.senders["down"]
    assert isinstance(down, Destination)
    assert {note.id for note in down.taken} == waited
    assert down.reported == [("fire", "checkout"), ("fire", "gone"), ("not_monitored", "gone")]
    assert office.state.outbox == ()


def test_an_incident_of_before_is_closed_by_one_message_on_each_destination(office: Office) -> None:
    office.tick(check("srm"))
    office.tick(check("srm", "pass"))
    for name in ("up", "down"):
        assert sent_by(office, name).count(("resolve", "checkout")) == 1


def test_an_incident_of_before_is_in_the_history_that_the_ledger_reads(office: Office) -> None:
    office.tick(check("srm"))
    (opened,) = [incident.opened_at for incident in office.state.incidents.values()]
    closed = office.now
    office.tick(check("srm", "pass"))
    (past,) = office.state.past
    assert (past.flag.key, past.opened_at, past.resolved_at) == ("checkout", opened, closed)
    assert [alert.check for alert in past.alerts] == ["srm"]
