"""Ticks against real servers with a clock that is set by hand and a storage that can be killed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from exd_dagster.alerts.channels.sender import Sender
from exd_dagster.alerts.deliveries import Delivery
from exd_dagster.alerts.deliveries import deliveries as sent
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.model import AlertState, CheckState
from exd_dagster.alerts.policy.routes import Route, read_routes
from exd_dagster.alerts.policy.timing.hold import DeliveryRules
from exd_dagster.alerts.state import StateStore
from exd_dagster.alerts.tick import AlertingSetup, Snapshot, people, run_tick
from tests.alerts.make import NOW, watching


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


class Storage:
    """The instance's key-value storage; `die_at` raises before the write of that number (1-based)."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.writes = 0
        self.die_at: int | None = None

    def get_cursor_values(self, keys: set[str]) -> Mapping[str, str]:
        return {key: self.values[key] for key in keys if key in self.values}

    def set_cursor_values(self, pairs: Mapping[str, str]) -> None:
        self.writes += 1
        if self.writes == self.die_at:
            raise KilledError
        self.values.update(pairs)


class Office:
    """One alert sensor's life: `tick` does what the sensor does."""

    def __init__(
        self,
        *senders: Sender,
        routes: Sequence[Route | Mapping[str, Any]] | None = None,
        digest: bool = False,
        started: bool = True,
        hook: Sender | None = None,
        rules: Mapping[str, DeliveryRules] | None = None,
    ) -> None:
        self.storage = Storage()
        self.store = StateStore(self.storage, "test")
        self.now = NOW
        routing = read_routes(routes, [sender.name for sender in senders])
        channels = {sender.name: sender.channel for sender in senders}
        self.setup = AlertingSetup(
            senders={sender.name: sender for sender in senders},
            routing=routing,
            digest=people(channels, routing.default) if digest else (),
            hook=hook,
            context=Context(),
            rules=rules or {},
        )
        self.log = logging.getLogger("exd_dagster.test")
        if started:
            self.store.save(AlertState(started=True))

    def tick(
        self,
        *found: CheckState,
        after: timedelta = timedelta(seconds=30),
        timer: Any = None,
        budget: float = 20.0,
        **snapshot: Any,
    ) -> AlertState:
        """One tick; then the clock moves on by `after`."""
        monitored = watching(*(check.flag for check in found))
        state = run_tick(
            self.store,
            self.setup,
            Snapshot(**{"found": found, "monitored": monitored, **snapshot}),
            clock=lambda: self.now,
            timer=timer or (lambda: 0.0),
            log=self.log,
            budget=budget,
        )
        self.now += after
        return state

    def wait_for_next_attempt(self) -> None:
        """Set the clock to when the next message is due."""
        self.now = min(entry.next_attempt_at for entry in self.state.outbox)

    @property
    def state(self) -> AlertState:
        state = self.store.load()
        assert state is not None
        return state

    def deliveries(self, since: datetime | None = None) -> list[Delivery]:
        return sent(self.state, since)

    def without(self, name: str, why: str = "environment variable X is not set (token)") -> None:
        """Take a destination away, as a missing token does."""
        senders = {key: sender for key, sender in self.setup.senders.items() if key != name}
        self.setup = replace(self.setup, senders=senders, unready={name: why})
