"""Audits of what an SDK wrote: its columns, its declared split, and the verdicts."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import duckdb
from exd_dagster.stats.integrity import VariantIntegrityVerdict, variant_integrity

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.store.select import select_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.telemetry.sources.duckdb import FileRecords, Records
from exd_dagster.telemetry.vendor_flags.read import flags_from
from exd_dagster.telemetry.vendor_flags.registry import READERS
from tests.vendors.environment import Evaluated

COLUMNS = {
    "configcat": ("timestamp", "key", "value", "user.identifier"),
    "eppo": ("timestamp", "featureFlag", "variation", "subject"),
    "flagsmith": ("timestamp", "feature_name", "value", "identifier"),
    "growthbook": ("timestamp", "experiment_id", "variation_id", "user_id"),
    "launchdarkly": ("creationDate", "key", "value", "context.key"),
    "openfeature": (
        "timestamp",
        'attributes."feature_flag.key"',
        'attributes."feature_flag.result.variant"',
        'attributes."feature_flag.context.id"',
    ),
    "optimizely": ("timestamp", "decision_info.flag_key", "decision_info.variation_key", "user_id"),
    "posthog": ("timestamp", "properties.$feature_flag", "properties.$feature_flag_response", "distinct_id"),
    "split": ("time", "feature", "treatment", "key"),
    "statsig": ("time", "metadata.config", "metadata.ruleID", "user.userID"),
    "unleash": ("timestamp", "featureName", "variant", "context.userId"),
}
"""Time, flag, variant and unit in the events of each SDK."""

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
    """Return the events as records."""
    names = ("timestamp", "flag_key", "variant_key", "unit_id_hash")
    columns = dict(zip(names, COLUMNS[sdk], strict=True))
    return FileRecords(path=str(evaluated.events), columns=columns)


def declared(sdk: str, evaluated: Evaluated, key: str) -> FlagAudit:
    """Return the flag as the definitions declare it; by hand where no reader knows the vendor."""
    start = datetime.now(timezone.utc) - timedelta(hours=6)
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
