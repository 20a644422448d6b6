"""The one path from bins to verdicts: what the Dagster checks, the CLI and LiveMonitor all call."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins, FlagSegments
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.errors import ExdError, InputError
from exd_dagster.stats import words
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.checks import CHECKS
from exd_dagster.stats.checks.check import Case, Check
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.srm import SrmVerdict
from exd_dagster.stats.traffic.traffic import TrafficVerdict
from exd_dagster.stats.verdict import NEVER_COUNTED, Verdict


@dataclass(frozen=True, slots=True)
class FlagVerdicts:
    """The verdicts of one flag, in the order of their checks in `CHECKS`."""

    verdicts: tuple[Verdict, ...]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def __getitem__(self, check: str) -> Verdict:
        """Return the verdict of one check.

        Raises:
            KeyError: when it was not evaluated.
        """
        return {verdict.check: verdict for verdict in self.verdicts}[check]

    @property
    def srm(self) -> SrmVerdict:
        """Verdict of the check `srm`."""
        return cast("SrmVerdict", self["srm"])

    @property
    def sequential_srm(self) -> SequentialSrmVerdict:
        """Verdict of the check `sequential_srm`."""
        return cast("SequentialSrmVerdict", self["sequential_srm"])

    @property
    def traffic_drop(self) -> TrafficVerdict:
        """Verdict of the check `traffic_drop`."""
        return cast("TrafficVerdict", self["traffic_drop"])

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Verdicts that failed, of either severity."""
        return tuple(verdict for verdict in self if verdict.failed)

    @property
    def blocking(self) -> tuple[Verdict, ...]:
        """Verdicts that failed with severity ERROR."""
        return tuple(verdict for verdict in self if verdict.severity == "ERROR")


def audit_flag(
    flag: FlagAudit,
    bins: FlagBins,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
    *,
    judged: tuple[datetime, datetime] | None = None,
    checks: Sequence[Check] | None = None,
    segments: FlagSegments | None = None,
    stages: Mapping[str, FlagBins] | None = None,
    carried: Carried | None = None,
) -> FlagVerdicts:
    """Evaluate one flag from its closed bins; a pure function that never raises because of data.

    Args:
        flag: who is counted, and the declared split with its phases.
        bins: the flag's closed hourly bins.
        thresholds: the levels.
        judged: hours whose traffic alarms count, [start, end) in UTC; None: the last 24 closed ones.
        checks: names of the checks; None: the checks that block by default.
        segments: the newly exposed units of the bins by segment; None: they are not divided.
        stages: the bins of the flag's other stages, by name.
        carried: states of earlier evaluations to go on from, to which those of this one are added; None: all
            is computed from the first hour.

    Returns:
        One verdict for each check. A test that cannot be computed gives "not_checked" with the reason.

    Raises:
        InputError: when `judged` has no UTC offset or does not run forward; never because of the bins.
    """
    if judged is not None:
        _check_hours(*judged)
    case = Case(flag, bins, thresholds, judged, segments, stages or {}, carried)
    asked = [c for c in CHECKS.values() if c.blocks == "by default"] if checks is None else checks
    return FlagVerdicts(tuple(_verdict(check, case) for check in asked))


def _verdict(check: Check, case: Case) -> Verdict:
    """Run one check; an error becomes the verdict "not_checked"."""
    # An informational check gives its own verdict where nothing was counted.
    bins, informs = case.closed, check.blocks != "by default"
    if not len(bins) or not bins.delivered.any():
        return _judged(check, case) if informs else _not_delivered(check, bins)
    if never_counted(bins) and not informs:
        why = _why_nothing_counted(case.flag, bins)
        verdict = _not_checked(check, NEVER_COUNTED, why, **check.declared(case))
    else:
        verdict = _judged(check, case)
    return replace(verdict, audited_through=_last_delivered(bins))


def _judged(check: Check, case: Case) -> Verdict:
    try:
        return check.judge(case)
    except (ExdError, ArithmeticError, LookupError, ValueError) as error:
        why = f"Not checked: the test could not be computed ({type(error).__name__}: {error})."
        return _not_checked(check, "not_computable", why)


def _not_delivered(check: Check, bins: FlagBins) -> Verdict:
    reason = "nothing_landed" if len(bins) else "no_closed_hour"
    what = "no record was delivered" if len(bins) else "no hour of the log has closed"
    since = f"since the flag's start, {words.instant(bins.start)}"
    return _not_checked(check, reason, f"Not checked: {what} {since}.")


def _not_checked(check: Check, reason: str, sentence: str, **numbers: Any) -> Verdict:
    return check.verdict(check=check.name, verdict="not_checked", reason=reason, sentence=sentence, **numbers)


def _check_hours(start: datetime, end: datetime) -> None:
    for instant in (start, end):
        if instant.tzinfo is None:
            raise InputError(f"judged: {instant.isoformat()} has no UTC offset; write it as UTC")
    if start >= end:
        raise InputError(f"judged: start {start.isoformat()} is not before end {end.isoformat()}")


def never_counted(bins: FlagBins) -> bool:
    """Return whether hours closed in the log while the flag has never shown a unit."""
    return bool(len(bins) and bins.delivered.any() and not bins.units.any() and not bins.new_units.any())


def _why_nothing_counted(flag: FlagAudit, bins: FlagBins) -> str:
    """Return which name is not in the log, or else why no records were counted."""
    apart = Counter({name: bins.fact_total(name) for name in _APART})
    if names := [name for name in bins.unmatched if "dimensions" not in name.place]:
        why = "; ".join(map(str, names))
    elif +apart:
        reasons = sorted({fact.detail for fact in bins.facts if fact.name == "excluded_reason"})
        parts = [f"{count:,} {_APART[name]}" for name, count in apart.most_common() if count]
        named = f" ({', '.join(reasons[:5])})" if reasons else ""
        why = f"no record of flag '{flag.id}' counts: {', '.join(parts)}{named}"
    else:
        why = f"flag '{flag.id}' has no record in this log that counts"
    return f"Not checked: {why}; nothing was counted since {words.instant(flag.start)}."


_APART = {
    "excluded_reason": "left out for their reason",
    "null_units": "without a unit",
    "null_variants": "without a variant",
}


def _last_delivered(bins: FlagBins) -> datetime:
    """Return the end of the last hour with any record in the log (UTC)."""
    return bins.start + HOUR * int(np.flatnonzero(bins.delivered)[-1] + 1)
