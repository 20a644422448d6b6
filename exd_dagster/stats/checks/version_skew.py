"""The check `version_skew` (T004): do SDKs evaluate a manifest far behind the newest?

Not a statistical test: the log contradicts the declaration. Informational; never blocks.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import Thresholds
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSkewVerdict(Verdict):
    """How far the SDKs' manifests lag behind.

    Attributes:
        versions: evaluations by manifest version, the most frequent first.
        newest: highest version seen; None when the records name none.
        behind: evaluations further behind the newest than `max_versions_behind`.
        max_versions_behind: the level used.
    """

    versions: Mapping[int, int] = field(default_factory=dict)
    newest: int | None = None
    behind: int = 0
    max_versions_behind: int = 2


def version_counts(bins: FlagBins) -> dict[int, int]:
    """Return the evaluations by manifest version, most frequent first; only whole numbers are versions."""
    counts = Counter[int]()
    for fact in bins.facts:
        if fact.name == "manifest_version" and fact.detail.isdigit():
            counts[int(fact.detail)] += fact.count
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], -pair[0])))


def version_skew(versions: Mapping[int, int], thresholds: Thresholds) -> VersionSkewVerdict:
    """Evaluate manifest versions: T004 when any is too many versions behind the newest."""
    allowed = thresholds.manifest_skew.max_versions_behind
    total = sum(versions.values())
    if not total:
        return VersionSkewVerdict(
            check="version_skew",
            verdict="skipped",
            reason="no_manifest_version",
            sentence="The records name no manifest version.",
            max_versions_behind=allowed,
        )
    newest = max(versions)
    behind = sum(count for version, count in versions.items() if version < newest - allowed)
    share = behind / total
    sentence = f"{len(versions)} manifest versions seen, none more than {allowed} behind version {newest}."
    if behind:
        sentence = (
            f"{words.percent(share)} of evaluations ({behind:,}) used a manifest more than {allowed} "
            f"versions behind version {newest}; update those SDKs."
        )
    return VersionSkewVerdict(
        check="version_skew",
        verdict="fail" if behind else "pass",
        severity="WARN" if behind else None,
        reason="stale_manifest" if behind else "",
        code="T004" if behind else None,
        sentence=sentence,
        versions=dict(versions),
        newest=newest,
        behind=behind,
        max_versions_behind=allowed,
    )


def newest(bins: FlagBins) -> FlagBins:
    """Return the last 24 closed hours: over weeks manifests differ because they were released."""
    return bins.between(bins.audited_through - 24 * HOUR, bins.audited_through)


def _judge(case: Case) -> VersionSkewVerdict:
    return version_skew(version_counts(newest(case.bins)), case.thresholds)


VERSION_SKEW = Check(
    name="version_skew",
    question="Do all SDKs evaluate a recent manifest?",
    judge=_judge,
    alert_type="VERSION_SKEW",
    wording=Wording(title="Version skew", heading="Manifest versions"),
    verdict=VersionSkewVerdict,
    blocks="never",
)
