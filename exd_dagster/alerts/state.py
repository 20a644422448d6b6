"""The saved state of alerting: one versioned JSON value per sensor in the instance's key-value storage."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from zlib import compress, decompress, error

from pydantic import TypeAdapter

from exd_dagster.alerts.model import AlertState, Incident, instant
from exd_dagster.alerts.policy.incidents import DAMPING
from exd_dagster.errors import ExdError

VERSION = AlertState().version
KEPT_RECEIPTS = 2000
KEPT_FOR = timedelta(days=30)
KEPT_PAST = 500
INDEX = "exd_dagster/alerts"
PACKED_FROM = 32_000
_PACKED = "zlib:"
_V1_UNMONITORED = "This flag is no longer monitored"
_RENAMED = {
    "told_at": "notified_at",
    "parcel": "entry",
    "untold": "unreported",
    "healed": "recovered",
    "folded": "summarized",
}
"""Fields by their names in earlier versions: the first three before version 3, the others before 6."""
_ADAPTER = TypeAdapter(AlertState)


class AlertStateError(ExdError):
    """The alerting state cannot be read or used; nothing was sent and nothing was changed."""


class CursorStorage(Protocol):
    """The instance's key-value storage."""

    def get_cursor_values(self, keys: set[str]) -> Mapping[str, str]:
        """Return the values there are."""

    def set_cursor_values(self, pairs: Mapping[str, str]) -> None:
        """Write values at once."""


class StateStore:
    """Reads and writes the state of one alert sensor."""

    def __init__(self, storage: CursorStorage, sensor: str) -> None:
        self._storage = storage
        self._sensor = sensor
        self.key = f"{INDEX}/{sensor}"

    def load(self) -> AlertState | None:
        """Return the saved state, None when there is none.

        Raises:
            AlertStateError: when it was written by a newer exd_dagster or is damaged.
        """
        text = self._storage.get_cursor_values({self.key}).get(self.key)
        return _read(text, self.key) if text else None

    def save(self, state: AlertState) -> None:
        """Write the state; it is durable when this returns."""
        self._storage.set_cursor_values({self.key: _written(state)})
        self.enlist()

    def enlist(self) -> None:
        """Register the sensor; a concurrent registration may overwrite it."""
        known = sensors(self._storage)
        if self._sensor not in known:
            self._storage.set_cursor_values({INDEX: json.dumps(sorted({*known, self._sensor}))})

    def ask_replay(self, now: datetime) -> None:
        """Ask the sensor to queue dead letters again, without touching its state."""
        self._storage.set_cursor_values({f"{self.key}/replay": now.isoformat()})

    def replay_asked(self) -> datetime | None:
        """Return when a replay was last requested (UTC)."""
        return instant(self._storage.get_cursor_values({f"{self.key}/replay"}).get(f"{self.key}/replay"))

    def reset(self) -> None:
        """Delete the state; what still fails is sent again."""
        self._storage.set_cursor_values({self.key: ""})


def sensors(storage: CursorStorage) -> list[str]:
    """Return the name of every alert sensor that ever saved a state."""
    text = storage.get_cursor_values({INDEX}).get(INDEX)
    return [str(name) for name in json.loads(text)] if text else []


def _written(state: AlertState) -> str:
    """Return the state as JSON, packed when it is long: a MySQL instance stores 64 KB at most."""
    data = _ADAPTER.dump_json(state)
    return data.decode() if len(data) < PACKED_FROM else _PACKED + b64encode(compress(data, 1)).decode()


def _read(text: str, key: str) -> AlertState:
    try:
        packed = text.startswith(_PACKED)
        data = decompress(b64decode(text.removeprefix(_PACKED))) if packed else text.encode()
        version = re.match(rb'\s*\{\s*"version":\s*(\d+)', data)
        if version and int(version[1]) > VERSION:
            raise AlertStateError(
                f"alerting state '{key}' has version {int(version[1])}; this one reads up to {VERSION}. "
                "Upgrade exd_dagster, or reset it: exd-dagster alerts reset (what still fails is sent again)"
            )
        if version and int(version[1]) < VERSION:
            data = json.dumps(json.loads(data, object_hook=_renamed)).encode()
        return _migrated(_ADAPTER.validate_json(data))
    except (ValueError, error) as fault:
        raise AlertStateError(
            f"alerting state '{key}' is damaged ({type(fault).__name__}). Restore it, or reset it: "
            "exd-dagster alerts reset (what still fails is sent again)"
        ) from None


def _renamed(value: dict[str, object]) -> dict[str, object]:
    """Return an object of an earlier version with the field names of this one."""
    return {_RENAMED.get(name, name): content for name, content in value.items()}


def _migrated(state: AlertState) -> AlertState:
    """Convert a state of an earlier version."""
    # Version 1 sent `resolve` for a flag that was no longer monitored; pending entries become
    # `not_monitored`.
    if state.version == VERSION:
        return state
    outbox = tuple(
        replace(entry, reason="not_monitored") if entry.note == _V1_UNMONITORED else entry
        for entry in state.outbox
    )
    return replace(state, version=VERSION, outbox=outbox)


def prune(state: AlertState, now: datetime) -> AlertState:
    """Drop what nothing refers to any more: old receipts, closed incidents, alerts of neither."""
    waiting = {incident for entry in state.outbox for incident in entry.incidents}

    def needed(incident: Incident) -> bool:
        return incident.id in waiting or now - (incident.notified_at or now) < DAMPING

    closed = {name: incident for name, incident in state.closed.items() if needed(incident)}
    unmonitored = {
        name: incident
        for name, incident in state.unmonitored.items()
        if incident.id in waiting or now - (incident.unmonitored_at or now) < KEPT_FOR
    }
    kept = tuple(receipt for receipt in state.receipts if now - receipt.at < KEPT_FOR)[-KEPT_RECEIPTS:]
    used = {alert for entry in state.outbox for alert in entry.alerts}
    used.update(alert for receipt in kept if receipt.status == "dead" for alert in receipt.entry.alerts)
    used.update(state.outage.values())
    for incident in (*state.incidents.values(), *closed.values(), *unmonitored.values()):
        used.update(incident.alerts.values())
    return replace(
        state,
        closed=closed,
        unmonitored=unmonitored,
        alerts={name: alert for name, alert in state.alerts.items() if name in used},
        receipts=kept,
        past=tuple(each for each in state.past if now - (each.resolved_at or now) < KEPT_FOR)[-KEPT_PAST:],
        paused={name: until for name, until in state.paused.items() if until > now},
    )
