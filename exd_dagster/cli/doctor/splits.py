"""Compare the declared splits with the newest closed day of the log; nothing is stored."""

from datetime import datetime, timedelta

import duckdb

from exd_dagster.alerts.messages.words import count
from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, warn
from exd_dagster.cli.init.split_look import in_words, shown
from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.errors import ExdError
from exd_dagster.stats import words
from exd_dagster.stats.srm.plausible_split import plausible_split
from exd_dagster.stats.srm.srm import srm_test

DAY = timedelta(hours=24)
CLEARLY = 1e-6
"""A split whose p-value is below this clearly disagrees."""
SAME_WITHIN = 0.01
"""A plausible split this close to the declared one counts as equal."""


def diagnose_splits(plan: AuditPlan, newest: datetime, now: datetime) -> list[Diagnosis]:
    """Compare the declared splits with the shares of the newest 24 closed hours.

    Not looked at are flags without a split, flags that have ended, and flags in a phase whose units may have
    been assigned in an earlier one.

    Args:
        plan: the fleet.
        newest: the log's newest record (UTC).
        now: the clock (UTC).
    """
    end = floor_hour(newest - plan.timing.lateness)
    windows = [flag for each in plan.flags if (flag := of_one_day(each, end - DAY, end)) is not None]
    if not windows:
        return []
    try:
        with duckdb.connect() as connection:
            store = BinStore(connection)
            report = store.update(plan.records, windows, end - DAY, end, timing=plan.timing, now=now)
            bins = [store.read(flag) for flag in windows if report.flags[flag.id].error is None]
    except ExdError as error:
        return [fail("splits", str(error), "correct records= so that the log can be counted")]
    errors = [build.error for build in report.flags.values() if build.error is not None]
    by_id = {flag.id: flag for flag in windows}
    compared = [split_disagrees(by_id[each.flag], each) for each in bins]
    found = [diagnosis for diagnosis in compared if diagnosis is not None]
    found += [fail("splits", error, "correct this flag; its bins cannot be built so") for error in errors]
    units = sum(int(each.new_units.sum()) for each in bins)
    agree = f"{units:,} units of one day agree with {count(len(bins), 'declared split')}"
    return found or ([ok("splits", agree)] if units else [])


def of_one_day(flag: FlagAudit, start: datetime, end: datetime) -> FlagAudit | None:
    """Return the flag as it is declared within `[start, end)` (UTC); None if it is unknown."""
    phase = flag.phase_at(end - timedelta(hours=1))
    if phase is None or end <= flag.start or (flag.end is not None and flag.end <= end - timedelta(hours=1)):
        return None
    first = phase.start == flag.start
    begun = phase.start if first else flag.taken_up(phase)
    if begun >= end or not (first or phase.rerandomized):
        return None
    own = {name: value for name, value in dict(flag).items() if name not in ("phases", "uptake")}
    return FlagAudit(**{**own, "split": phase.split, "start": max(start, begun)})


def split_disagrees(flag: FlagAudit, bins: FlagBins) -> Diagnosis | None:
    """Report that a day of a flag clearly disagrees with its split, with a plausible split; else None."""
    declared = dict(flag.split or {})
    seen = dict(zip(bins.variants, bins.new_units.sum(axis=0).tolist(), strict=True))
    verdict = srm_test(seen, declared, significance_level=CLEARLY)
    if not verdict.failed:
        return None
    units = sum(seen.values())
    shares = {name: count / units for name, count in seen.items() if count or name in declared}
    said = (
        f"'{flag.id}' is declared {in_words(declared)}; {units:,} units up to "
        f"{words.instant(bins.audited_through)} show {in_words(shares)}"
    )
    if absent := [name for name, share in declared.items() if share and not seen.get(name)]:
        named = ", ".join(shown(name) for name in absent)
        return warn("splits", said, f"check that {named} is served, and is spelled this way in the records")
    plausible = plausible_split(bins.new_units.astype(float), bins.variants).split
    names = {*declared, *plausible}
    if all(abs(declared.get(name, 0) - plausible.get(name, 0)) <= SAME_WITHIN for name in names):
        return warn("splits", said, "look at its checks: no other common split is as close")
    usual = f"if {in_words(plausible)} was configured, correct split= or add a phase"
    return warn("splits", said, f"{usual}; if not, look at its checks")
