"""A flag's row of `flag_trust`: its standing, from the verdict of its `trust` check."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from exd_dagster.audit.trust import TrustVerdict
from exd_dagster.config import FlagAudit, FlagId, Mode, floor_hour
from exd_dagster.stats.window import iteration_begun

Standing: TypeAlias = Literal["not-trusted", "not-checked", "waived", "warning", "trusted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRow:
    """One flag in one environment and iteration. Every instant is UTC.

    Attributes:
        flag: namespace, environment and key.
        iteration_start: when the iteration began.
        trusted: False when what builds on the flag is withheld, None when it could not be checked.
        sentence: the answer in one plain sentence.
        mode: what a failure does.
        failing: names of the checks that fail, blocking or not.
        usable_without: segments to leave out, as conditions: "browser = Safari".
        since: start of its current status.
        usable_until: end of the last hour before a fault.
        audited_through: end of the last hour covered.
        contained: True when a fault is over and its hours are still in the window.
        waived_by: who let reports run although a check fails.
        waived_until: when that ends.
        discovery: True when the flag is among those e-BH discovers in its fleet.
        collides_with: flags whose assignment its own depends on, as with a shared salt.
        off_reports: assets of reports whose units are not those exposed (`reconcile`).
        owners: the owners.
        run_url: the Dagster run that gave the answer: its address, or its id.
        asset_url: the checks of the flag's bins in Dagster, "" where the address of its UI is not known.
        picture: SVG of the failing check, "" for none.
    """

    flag: FlagId
    iteration_start: datetime
    trusted: bool | None
    sentence: str
    mode: Mode = "block"
    failing: tuple[str, ...] = ()
    usable_without: tuple[str, ...] = ()
    since: datetime | None = None
    usable_until: datetime | None = None
    audited_through: datetime | None = None
    contained: bool = False
    waived_by: str | None = None
    waived_until: datetime | None = None
    discovery: bool = False
    collides_with: tuple[str, ...] = ()
    off_reports: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    run_url: str = ""
    asset_url: str = ""
    picture: str = ""

    @property
    def standing(self) -> Standing:
        """The status of the flag, in one word."""
        if self.trusted is None:
            return "not-checked"
        if not self.trusted:
            return "not-trusted"
        if self.waived_by:
            return "waived"
        return "warning" if self.failing else "trusted"


def trust_row(flag: FlagAudit, verdict: TrustVerdict, picture: str = "") -> TrustRow:
    """Return the flag's row from its `trust` verdict.

    Args:
        flag: the flag.
        verdict: its one answer.
        picture: SVG of the failing check, "" for none.
    """
    through = verdict.audited_through
    trusted = None if verdict.verdict == "not_checked" else verdict.trusted
    return TrustRow(
        flag=flag.id,
        iteration_start=iteration_start(flag, through),
        trusted=trusted,
        sentence=verdict.sentence,
        mode=flag.mode,
        failing=verdict.failing,
        usable_without=verdict.usable_without,
        since=verdict.bad_from or through,
        usable_until=verdict.usable_until or (through if trusted else None),
        audited_through=through,
        contained=verdict.state == "contained",
        waived_by=verdict.waived_by,
        waived_until=verdict.waived_until,
        owners=flag.owners,
        picture=picture,
    )


def iteration_start(flag: FlagAudit, through: datetime | None) -> datetime:
    """Return the first hour (UTC) of the iteration that contains `through`."""
    return floor_hour(flag.iterations[-1] if through is None else iteration_begun(flag, through))
