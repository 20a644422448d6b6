"""Audits of what an SDK wrote: read by its preset, declared by its definitions, judged."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import duckdb

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.store.select import select_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.checks.variant_integrity import VariantIntegrityVerdict, variant_integrity
from exd_dagster.telemetry.sources.duckdb import FileRecords, Records
from exd_dagster.telemetry.vendor_flags.read import flags_from
from exd_dagster.telemetry.vendor_flags.registry import READERS
from tests.vendors.environment import Evaluated

PRESETS = {"openfeature": "opentelemetry", "optimizely": "optimizely-sdk", "statsig": "statsig-events"}
"""Preset of an SDK's events, where it is not called as the SDK is."""

NAMES = {"launchdarkly": {"control": "0", "treatment": "1"}}
"""What the records write for the arm that an SDK returned, where it is something else."""

KEYS = {"eppo": "{}-experiment"}
"""Key under which the records and the definitions know a flag, where it is another."""

FORMS = {"statsig": "id"}
"""What an SDK's own events write for an arm, where it is not what the vendor's exposures write."""

VENDORS = {"openfeature": "flagd"}
"""Whose definitions an SDK was given, where it is not the vendor's own."""


@dataclass(frozen=True)
class Audited:
    """One flag judged."""

    bins: FlagBins
    verdicts: FlagVerdicts
    integrity: VariantIntegrityVerdict

    @property
    def counted(self) -> dict[str, int]:
        """Units by variant."""
        return dict(zip(self.bins.variants, map(int, self.bins.new_units.sum(axis=0)), strict=True))


def records_of(sdk: str, evaluated: Evaluated) -> Records:
    """Return the events as records, read by the preset alone."""
    return FileRecords(path=str(evaluated.events), preset=PRESETS.get(sdk, sdk))


def recount(sdk: str, evaluated: Evaluated, key: str = "flag-00") -> dict[str, int]:
    """Count the users of each arm as the SDK returned it, by the arm's name in the records."""
    names = NAMES.get(sdk, {})
    return {names.get(arm, arm): n for arm, n in evaluated.recount(key).items()}


def declared(sdk: str, evaluated: Evaluated, key: str) -> FlagAudit:
    """Return the flag as the definitions declare it; by hand where no reader knows the vendor."""
    start = datetime.now(timezone.utc) - timedelta(hours=6)
    key = KEYS.get(sdk, "{}").format(key)
    vendor = VENDORS.get(sdk, sdk)
    if vendor not in READERS:
        return FlagAudit(key=key, split={"control": 0.6, "treatment": 0.4}, start=start)
    form = FORMS.get(sdk)
    (flag,) = flags_from({start: evaluated.definitions}, vendor=vendor, keys=key, variants=form)  # type: ignore[arg-type]
    return flag


def audited(sdk: str, evaluated: Evaluated, key: str = "flag-00") -> Audited:
    """Count and judge one flag of what an SDK wrote."""
    flag = declared(sdk, evaluated, key)
    now = datetime.now(timezone.utc)
    with duckdb.connect() as connection:
        report = BinStore(connection).update(
            records_of(sdk, evaluated), [flag], flag.start, now, timing=Timing(lateness=timedelta(0)), now=now
        )
        assert report.flags[flag.id].error is None
        bins = select_bins(connection, flag, closed_only=False)
    return Audited(bins, audit_flag(flag, bins), variant_integrity(flag, bins, Thresholds()))
