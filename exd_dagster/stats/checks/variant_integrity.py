"""The check `variant_integrity`: did each unit stay in one declared variant?

Not a statistical test: the log contradicts the declaration. Informational by default;
a flag can let it block.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.verdict import Answer, Severity, Verdict
from exd_dagster.stats.window import counted, split_window


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantIntegrityVerdict(Verdict):
    """Whether each unit stayed in one declared variant.

    Attributes:
        units: all units counted.
        multi_variant_units: seen in more than one variant, changes at a declared phase left out.
        carry_over_units: changed variant where a phase was declared; expected, and not evaluated.
        undeclared_units: units by undeclared variant.
        zero_share_units: units by declared variant whose declared share was 0 % when they came.
        share: the largest of the shares evaluated.
        warn_share: fails with WARN from here.
        fail_share: fails with ERROR from here.
    """

    units: int = 0
    multi_variant_units: int = 0
    carry_over_units: int = 0
    undeclared_units: Mapping[str, int] = field(default_factory=dict)
    zero_share_units: Mapping[str, int] = field(default_factory=dict)
    share: float = 0.0
    warn_share: float = 0.001
    fail_share: float = 0.01


def variant_integrity(flag: FlagAudit, bins: FlagBins, thresholds: Thresholds) -> VariantIntegrityVerdict:
    """Evaluate units in more than one variant, and units in variants without a share.

    Each against both levels. A unit that changed variant where a phase was declared is counted separately and
    not evaluated. `split_window` defines which variants have a share in an hour, as for the split tests.
    """
    levels, window = thresholds.variant_integrity, split_window(flag, counted(flag, bins))
    bins = bins.between(window.instant(window.own), window.instant(len(window.counts)))
    units = int(bins.new_units.sum())
    carried = bins.fact_total("carry_over_units")
    found = {
        "units_in_several_variants": bins.fact_total("multi_variant_units") - carried,
        "undeclared_variant": sum(window.undeclared.values()) if flag.variants else 0,
        "zero_share_variant": sum(window.zero_share.values()),
    }
    undeclared = window.undeclared if flag.variants else {}
    reason = max(found, key=lambda name: found[name])
    share = found[reason] / units if units else 0.0
    answer, severity = _answer(units, share, levels.warn_share, levels.fail_share)
    several = found["units_in_several_variants"]
    return VariantIntegrityVerdict(
        check="variant_integrity",
        verdict=answer,
        severity=severity,
        reason=reason if answer == "fail" else "",
        sentence=_integrity_sentence(units, several, undeclared, window.zero_share),
        units=units,
        multi_variant_units=several,
        carry_over_units=carried,
        undeclared_units=undeclared,
        zero_share_units=window.zero_share,
        share=share,
        warn_share=levels.warn_share,
        fail_share=levels.fail_share,
    )


def _answer(units: int, share: float, warn: float, fail: float) -> tuple[Answer, Severity | None]:
    if not units:
        return "insufficient", None
    if share and (share >= fail or isclose(share, fail)):
        return "fail", "ERROR"
    if share and (share >= warn or isclose(share, warn)):
        return "fail", "WARN"
    return "pass", None


def _integrity_sentence(
    units: int, several: int, undeclared: Mapping[str, int], zero_share: Mapping[str, int]
) -> str:
    if not units:
        return "No units yet."
    parts = []
    if several:
        parts.append(
            f"{several:,} of {units:,} units ({words.percent(several / units)}) saw more than one variant"
        )
    for strays, form in ((undeclared, "undeclared {}"), (zero_share, "{}, declared with 0 %")):
        if n := sum(strays.values()):
            who = form.format(", ".join(sorted(strays)))
            parts.append(f"{n:,} units ({words.percent(n / units)}) got {who}")
    return "; ".join(parts) + "." if parts else f"Each of {units:,} units saw one declared variant."


def _judge(case: Case) -> VariantIntegrityVerdict:
    return variant_integrity(case.flag, case.bins, case.thresholds)


VARIANT_INTEGRITY = Check(
    name="variant_integrity",
    question="Did each unit stay in one declared variant?",
    judge=_judge,
    alert_type="VARIANT_INTEGRITY_TRIGGERED",
    wording=Wording(
        title="Variant integrity",
        heading="Units and variants",
        meaning="Units saw several variants, or an undeclared one; results of this flag would be wrong.",
        step="Check how the unit id is made, and which variants are served{since}.",
    ),
    verdict=VariantIntegrityVerdict,
)
