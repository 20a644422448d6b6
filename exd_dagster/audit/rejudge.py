"""Failures judged again from stored bins with other settings: what these would have avoided, and missed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.bins.model import FlagBins, FlagSegments
from exd_dagster.config import ConfigModel, FlagAudit, FlagId, Thresholds
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks import CHECKS

Read: TypeAlias = Callable[[FlagAudit], tuple[FlagBins, FlagSegments]]
"""Returns a flag's stored bins, and its segments over the same hours."""

NEWEST = 40
"""Answered failures of one check that are judged again, the newest."""
_JUDGED = timedelta(hours=24)
_LEVELS = (0.1, 0.01, 0.001)
_TABLES: Mapping[str, Sequence[tuple[str, str, Sequence[float]]]] = {
    "srm": (("srm", "significance_level", _LEVELS),),
    "sequential_srm": (("sequential_srm", "alpha", _LEVELS),),
    "segment_srm": (("segment_srm", "alpha", _LEVELS),),
    "traffic_drop": (
        ("evaluation_rate_anomaly", "drop_fraction", (1.2, 1.4, 1.6, 1.8)),
        ("traffic_drop", "alarm_level", _LEVELS),
    ),
    "segment_traffic": (("traffic_drop", "alarm_level", _LEVELS),),
    "variant_integrity": (("variant_integrity", "fail_share", (2, 5, 10)),),
}
"""By check, what is tried: table and name of the setting, and factors of what it is now, mildest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One setting, tried on the answered failures of a check.

    Attributes:
        check: the check.
        setting: the setting and its value, as in `Thresholds`: "srm.significance_level = 0.0001".
        avoided: failures called false that it would not have given.
        false: those called false that today's setting gives again from the stored bins.
        missed: failures called real that it would not have given.
        real: those called real that today's setting gives again.
        gone: answered failures that today's setting does not give again: their records were corrected since.
    """

    check: str
    setting: str
    avoided: int
    false: int
    missed: int
    real: int
    gone: int


def best_setting(
    check: str,
    rows: Iterable[LedgerRow],
    flags: Mapping[FlagId, FlagAudit],
    thresholds: Thresholds,
    read: Read,
) -> Tried | None:
    """Return the mildest setting with the most false failures avoided, less the real ones missed.

    Each answered failure is judged again as at the last hour at which the check failed.

    Args:
        check: a check.
        rows: the ledger.
        flags: the audited flags.
        thresholds: today's settings.
        read: reads stored bins.

    Returns:
        None where no false failure can be judged again, or no setting is known for the check. A setting that
        avoids none is returned as such.
    """
    if check not in _TABLES:  # the check of a report, or one without a setting
        return None
    answered = [row for row in rows if row.check == check and row.verdict in ("real", "false")]
    known = [row for row in answered if row.audited_through and row.flag in flags][-NEWEST:]
    cases = [(row, _cut(row, flags[row.flag], read)) for row in known]
    again = [case for case in cases if _fails(check, flags[case[0].flag], case, thresholds)]
    if not any(row.verdict == "false" for row, _ in again):
        return None
    found = []
    for setting, other in candidates(check, thresholds):
        passed = [row.verdict for row, cut in again if not _fails(check, flags[row.flag], (row, cut), other)]
        verdicts = [row.verdict for row, _ in again]
        found.append(
            Tried(
                check=check,
                setting=setting,
                avoided=passed.count("false"),
                false=verdicts.count("false"),
                missed=passed.count("real"),
                real=verdicts.count("real"),
                gone=len(cases) - len(again),
            )
        )
    return max(found, key=lambda tried: tried.avoided - tried.missed, default=None)


def candidates(check: str, thresholds: Thresholds) -> list[tuple[str, Thresholds]]:
    """Return the settings to try for a check, mildest first: as text, and as thresholds."""
    found = []
    for table, name, factors in _TABLES.get(check, ()):
        values: ConfigModel = getattr(thresholds, table)
        now = getattr(values, name) or (0.01 if getattr(values, "method", "") == "sprt" else 0.001)
        for value in dict.fromkeys(float(f"{now * factor:.3g}") for factor in factors):
            if value < 1:
                changed = values.model_copy(update={name: value})
                found.append((f"{table}.{name} = {value:g}", thresholds.model_copy(update={table: changed})))
    return found


_Cut: TypeAlias = tuple[FlagBins, FlagSegments]


def _cut(row: LedgerRow, flag: FlagAudit, read: Read) -> _Cut:
    """Return the bins that were known when the check last failed."""
    bins, segments = read(flag)
    end = row.audited_through or bins.audited_through
    return bins.between(bins.start, end), segments.between(bins.start, end)


def _fails(check: str, flag: FlagAudit, case: tuple[LedgerRow, _Cut], thresholds: Thresholds) -> bool:
    row, (bins, segments) = case
    end = row.audited_through or bins.audited_through
    (verdict,) = audit_flag(
        flag, bins, thresholds, judged=(end - _JUDGED, end), checks=[CHECKS[check]], segments=segments
    )
    return verdict.failed and (verdict.severity == "ERROR" or CHECKS[check].blocks != "by default")
