"""A channel is its file and a line in `DESTINATIONS`: one added there is configured, routed and sent to."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

import dagster as dg
import pytest
from pydantic import Field

from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.definitions.alerting import destinations
from exd_dagster.definitions.alerting.destinations import DESTINATIONS, Destination
from exd_dagster.definitions.component.yaml import Kinds
from exd_dagster.errors import ConfigError, DeliveryError
from tests.alerts.alerting import Office
from tests.alerts.make import check

PAGER = Channel("pager", attempts=2)
SENT: list[tuple[str, Notification]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """Keeps what it is given, or refuses it for now."""

    name: str
    key: str
    timeout: float = 5.0
    refuses: bool = False
    channel: Channel = PAGER

    def send(self, notification: Notification, now: datetime) -> Outcome:
        SENT.append((self.key, notification))
        return Outcome(status="retry", detail="busy") if self.refuses else Outcome(status="sent")


class PagerSettings(Settings):
    """Settings of the channel `pager`."""

    kind: ClassVar[Channel] = PAGER
    secrets: ClassVar[frozenset[str]] = frozenset({"key"})

    name: str = Field(default="pager", min_length=1, description="Name in routes.")
    key: str = Field(repr=False, description="Routing key.")

    def open(self) -> Sender:
        return Pager(name=self.name, key=self.needed("key"), timeout=self.timeout)


class PagerAlerts(PagerSettings, Destination):
    """A pager."""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(DESTINATIONS, "pager", PagerAlerts)
    yield
    SENT.clear()


def configured(**values: Any) -> Destination:
    """What YAML makes of a mapping with `type`."""
    found: Destination = Kinds(DESTINATIONS, Destination).read({"type": "pager", **values})
    return found


def test_it_is_configured_by_its_type_with_its_secret_read_when_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PAGER_KEY", "k-1")
    office = Office(configured(key=dg.EnvVar("PAGER_KEY")).open())
    office.tick(check())
    assert [key for key, _ in SENT] == ["k-1"]


def test_a_secret_that_is_not_set_is_named() -> None:
    with pytest.raises(DeliveryError, match=r"environment variable NO_PAGER_KEY is not set \(key\)"):
        configured(key=dg.EnvVar("NO_PAGER_KEY")).open()


def test_a_mistyped_setting_is_reported_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"(?s)PagerAlerts\(name='pager'\).*kye: is not a known key.*'key'"):
        configured(kye="k-1", key="k-2")


def test_routes_choose_it_and_each_alert_is_a_message_of_its_own() -> None:
    routes = [{"check": "*srm", "to": ["pager"]}, {"to": ["other"]}]
    office = Office(Pager(name="pager", key="k"), Pager(name="other", key="o"), routes=routes)
    office.tick(check("srm"), check("sequential_srm"), check("srm", key="second"))
    assert sorted((key, len(note.alerts)) for key, note in SENT) == [("k", 1)] * 3


def test_a_channel_that_people_read_gets_them_in_one_message() -> None:
    office = Office(Pager(name="pager", key="k", channel=replace(PAGER, read_by_people=True)))
    office.tick(check("srm"), check("srm", key="second"))
    assert [len(note.alerts) for _, note in SENT] == [2]


@pytest.mark.parametrize(("attempts", "left"), [(2, 0), (None, 1)])
def test_its_message_is_given_up_after_the_attempts_it_allows(attempts: int | None, left: int) -> None:
    office = Office(Pager(name="pager", key="k", refuses=True, channel=replace(PAGER, attempts=attempts)))
    state = office.tick(check())
    while len(SENT) < 2:
        state = office.tick(check())
    assert len([entry for entry in state.outbox if entry.reason == "fire"]) == left


def test_every_channel_is_listed_by_its_own_name() -> None:
    resources = [each for each in vars(destinations).values() if isinstance(each, type)]
    named = {r.kind.name: r for r in resources if issubclass(r, Destination) and r is not Destination}
    assert {name: r for name, r in DESTINATIONS.items() if name != "pager"} == named
