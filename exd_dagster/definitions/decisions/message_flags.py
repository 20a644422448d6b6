"""`message:ID` in place of flags: every flag that one message of alerts spoke of, however many there are."""

from collections.abc import Collection, Iterable

import dagster as dg

from exd_dagster.alerts.messages.answers import MESSAGE, named
from exd_dagster.alerts.model import AlertState
from exd_dagster.config import FlagId
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.errors import ConfigError


def flags_of_message(instance: dg.DagsterInstance, flags: str, audited: Iterable[FlagId]) -> str:
    """Return the flags of the message that `flags` names, as globs; anything else is returned as it is.

    Args:
        instance: the Dagster instance, whose alerting state knows the messages of the last 30 days.
        flags: of a decision.
        audited: the flags it may cover; a message may name some that have left the project.

    Raises:
        ConfigError: when the message is not known.
    """
    if not flags.startswith(MESSAGE):
        return flags
    wanted = flags.removeprefix(MESSAGE)
    found = {flag for state in load_states(instance).values() for flag in _told(state, wanted)}
    if not found:
        fault = f"flags: no message '{wanted}' of the last 30 days is known; name the flags themselves"
        raise ConfigError("the decision", [fault])
    return named(_still(found, set(audited)))


def _still(found: Collection[FlagId], audited: set[FlagId]) -> list[FlagId]:
    return sorted(flag for flag in found if audited.issuperset(flag.members or (flag,))) or sorted(found)


def _told(state: AlertState, message: str) -> set[FlagId]:
    sent = {
        FlagId(*subject[:3])
        for receipt in state.receipts
        if receipt.entry.id == message
        for subject in receipt.subjects
    }
    waiting = {
        state.alerts[alert].flag
        for entry in state.outbox
        if entry.id == message
        for _, alert, _ in entry.parts
        if alert in state.alerts
    }
    return sent | waiting
