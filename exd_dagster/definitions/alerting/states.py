"""What the alert sensors of an instance remember."""

import dagster as dg

from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.state import StateStore, sensors
from exd_dagster.definitions.internals import cursor_storage


def load_states(instance: dg.DagsterInstance, sensor: str | None = None) -> dict[str, AlertState]:
    """Return the alerting state by name of the sensor; one that never ticked has none.

    Args:
        instance: the Dagster instance.
        sensor: name of one alert sensor; None: every one of the instance.
    """
    storage = cursor_storage(instance)
    found = {name: StateStore(storage, name).load() for name in ([sensor] if sensor else sensors(storage))}
    return {name: state for name, state in found.items() if state is not None}
