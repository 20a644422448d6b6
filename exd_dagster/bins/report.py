"""What one update of the store did, for logs, metadata and messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from exd_dagster.config import FlagId
from exd_dagster.telemetry.records import Unreadable


@dataclass(frozen=True, slots=True)
class FlagBuild:
    """The result of an update for one flag.

    Attributes:
        hours_changed: starts of the hours (UTC) whose bins or facts changed.
        new_units: units counted for the first time, net of corrections.
        evaluations: distinct evaluations in the hours read.
        rebuilt: True when the flag's definition changed, so that it was counted again from `start`.
        quarantined: rows of its key quarantined in this update, by reason: they belong to no hour.
        error: why the flag could not be counted, with the fix; its stored bins are unchanged.
    """

    hours_changed: tuple[datetime, ...] = ()
    new_units: int = 0
    evaluations: int = 0
    rebuilt: bool = False
    quarantined: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The result of one update.

    Attributes:
        source: name of the log.
        watermark: its newest valid record (UTC); None when it has none.
        closed_through: end of its last closed hour (UTC); None when it has none.
        read_from: first instant (UTC) that was read; earlier records were not read again.
        undelivered: starts of the closed hours (UTC) read that were not delivered; see `delivery`.
        records_ahead: records of hours after the last that was delivered.
        recounted: records that an engine counted again from the flags' start, as in every run; 0 where first
            exposures are kept.
        flags: the result for each flag.
        quarantined: rows of the whole log quarantined in this update, by reason.
        unreadable: files and lines that could not be read.
        absent: optional columns the log does not have; see `records.FACTS_OFF` for the consequences.
        records: records of the log in all hours that were ever read.
    """

    source: str
    watermark: datetime | None
    closed_through: datetime | None
    read_from: datetime | None = None
    undelivered: tuple[datetime, ...] = ()
    records_ahead: int = 0
    recounted: int = 0
    flags: Mapping[FlagId, FlagBuild] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()
    absent: tuple[str, ...] = ()
    records: int = 0
