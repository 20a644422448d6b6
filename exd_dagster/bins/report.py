"""What one update of the store did, for logs, metadata and messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from exd_dagster.config import FlagId
from exd_dagster.telemetry.records import Unreadable


@dataclass(frozen=True, slots=True)
class FlagBuild:
    """What was done for one flag.

    Attributes:
        hours_changed: starts of the hours (UTC) whose bins or facts are no longer what they were.
        new_units: units counted for the first time, net of those that were corrected away.
        evaluations: distinct evaluations in the hours that were read.
        rebuilt: True when what is counted had changed, so that all was counted anew from `start`.
        quarantined: rows of its key set apart in this reading, by reason: they have no hour to stand in.
        error: why the flag could not be counted, with the fix; its stored bins are as they were.
    """

    hours_changed: tuple[datetime, ...] = ()
    new_units: int = 0
    evaluations: int = 0
    rebuilt: bool = False
    quarantined: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What one update did.

    Attributes:
        source: name of the log.
        watermark: its newest valid record (UTC); None when it has none.
        closed_through: end of its last closed hour (UTC); None when it has none.
        read_from: first instant (UTC) that was read; the records before it are as they were counted.
        undelivered: starts of the closed hours (UTC) read that were not delivered; see `delivery`.
        records_ahead: records of hours after the last that was delivered.
        flags: each flag's part.
        quarantined: rows of the whole log set apart in this reading, by reason.
        unreadable: files and lines that could not be read.
        absent: optional columns the log does not have; see `records.FACTS_OFF` for what that switches off.
    """

    source: str
    watermark: datetime | None
    closed_through: datetime | None
    read_from: datetime | None = None
    undelivered: tuple[datetime, ...] = ()
    records_ahead: int = 0
    flags: Mapping[FlagId, FlagBuild] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()
    absent: tuple[str, ...] = ()
