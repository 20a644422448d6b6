"""Metadata of bins assets and checks: tables, numbers with a trend, a sparkline."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, log10
from typing import Any

import dagster as dg

from exd_dagster.audit.trust_row import iteration_start
from exd_dagster.bins.model import FACTS, FlagBins
from exd_dagster.config import FlagAudit
from exd_dagster.plots import sparkline
from exd_dagster.stats.checks.srm import pooled_sample
from exd_dagster.stats.segments.traffic import PartRow, SegmentTrafficVerdict
from exd_dagster.stats.segments.verdict import SegmentRow, SegmentSrmVerdict
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.srm import SrmVerdict
from exd_dagster.stats.traffic.traffic import TrafficVerdict
from exd_dagster.stats.verdict import Verdict
from exd_dagster.stats.window import split_window
from exd_dagster.stats.words import instant, percent

SMALLEST_P = 5e-324
"""Smallest positive float: what a p-value that underflowed is at most."""


def bins_metadata(flag: FlagAudit, bins: FlagBins) -> dict[str, Any]:
    """Return the metadata of a bins asset: traffic of the last week, split and counts so far.

    Args:
        flag: its declared split.
        bins: its closed hours.
    """
    current = bins.between(iteration_start(flag, bins.audited_through), bins.audited_through)
    image = sparkline(bins)
    facts = {name: count for name in FACTS if (count := current.fact_total(name))}
    return {
        **({"traffic": dg.MetadataValue.md(image)} if image else {}),
        "split": _split_so_far(flag, bins),
        **({"facts": dg.MetadataValue.json(facts)} if facts else {}),
    }


def _split_so_far(flag: FlagAudit, bins: FlagBins) -> dg.TableMetadataValue:
    """Return declared against observed in the current iteration, over its phases, as `srm` compares them."""
    window = split_window(flag, bins)
    if not window.periods:
        return split_table({}, window.undeclared)
    sample = pooled_sample(window)
    expected = dict(zip(sample.names, sample.shares.tolist(), strict=True))
    observed = dict(zip(sample.names, sample.observed.astype(int).tolist(), strict=True))
    return _with_strays(expected, observed, window.undeclared, window.zero_share)


def _with_strays(
    expected: Mapping[str, float],
    observed: Mapping[str, int],
    undeclared: Mapping[str, int],
    zero_share: Mapping[str, int],
) -> dg.TableMetadataValue:
    """Return the table of a split, with units of variants that had no declared share at the time."""
    units = Counter(observed)
    units.update(undeclared)
    units.update(zero_share)
    return split_table({**dict.fromkeys(zero_share, 0.0), **expected}, units)


SHOWN = (
    "verdict",
    "state",
    "bad_from",
    "bad_until",
    "usable_until",
    "answer",
    "split",
    "segment",
    "part",
    "usable_without",
    "within",
    "segments",
    "causes",
    "counted_from",
    "counted_until",
    "trusted",
    "failing",
    "would_block",
    "waived_by",
    "waived_until",
    "n",
    "latest_volume",
    "expected_volume",
    "volume_ratio",
    "p_value",
    "anytime_p_value",
    "max_ratio",
    "neg_log10_p",
    "versions",
    "unmatched",
    "audited_through",
    "code",
    "threshold",
    "chi_square",
    "expected",
    "observed",
    "flag",
    "mode",
)
"""Rows of a check in the order they are read, those with a value."""
DETAILS = "details"
"""Row that holds everything of the verdict, unrounded, as one JSON."""
DIGITS = 4


def check_metadata(values: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a check: the rows an operator reads first, rounded, and the whole as one JSON.

    Args:
        values: the verdict's numbers and whose they are, strict JSON.
        shown: further rows for the eye, such as tables, and scalars with a trend.
    """
    known = {name: value for name, value in values.items() if value is not None}
    rows = {**known, **shown}
    return {
        **{name: _row(rows[name]) for name in SHOWN if name in rows and rows[name] not in ([], {}, "")},
        DETAILS: dg.MetadataValue.json(known),
    }


def _row(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return dg.MetadataValue.json(value) if isinstance(value, (list, dict)) else value


def verdict_metadata(verdict: Verdict) -> dict[str, Any]:
    """Return further metadata of a check: a table, and numbers with a trend."""
    if isinstance(verdict, (SrmVerdict, SequentialSrmVerdict)) and verdict.expected:
        strays = (verdict.undeclared, verdict.zero_share) if isinstance(verdict, SrmVerdict) else ({}, {})
        trend = {
            "neg_log10_p": neg_log10_p(verdict),
            "max_ratio": max_ratio(verdict.expected, verdict.observed),
        }
        return {"split": _with_strays(verdict.expected, verdict.observed, *strays), **_known(trend)}
    if isinstance(verdict, SegmentSrmVerdict) and verdict.rows:
        said = {"within": verdict.within.sentence} if verdict.within else {}
        return {"segments": segments_table(verdict.rows), **said}
    if isinstance(verdict, SegmentTrafficVerdict) and verdict.rows:
        return {"segments": parts_table(verdict.rows)}
    if isinstance(verdict, TrafficVerdict):
        seen, expected = verdict.latest_volume, verdict.expected_volume
        ratio = seen / expected if seen is not None and expected else None
        return _known({"neg_log10_p": neg_log10_p(verdict), "volume_ratio": ratio})
    return {}


def table(rows: Sequence[Mapping[str, Any]], *columns: str) -> dg.TableMetadataValue:
    """Return a table, whose columns are typed by the first row.

    Args:
        rows: value by column, the same columns in each.
        *columns: those of a table that may have no row.
    """
    empty = None if rows else dg.TableSchema([dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=empty)


def segments_table(rows: Sequence[SegmentRow]) -> dg.TableMetadataValue:
    """Return a row per segment: its share with a 95 % interval, what was declared, and when it broke."""
    return table(
        [
            {
                "segment": f"{row.dimension} = {row.value}",
                "declared": percent(row.declared),
                "observed": percent(row.share),
                "interval": f"{percent(row.low)} to {percent(row.high)}",
                "units": row.units,
                "broke": instant(row.bad_from) if row.bad_from else "",
            }
            for row in rows
        ]
    )


def parts_table(rows: Sequence[PartRow]) -> dg.TableMetadataValue:
    """Return a row per arm or segment: its units beside those expected, and since when it fails."""
    return table(
        [
            {
                "segment": row.part,
                "units": round(row.units),
                "expected": round(row.expected),
                "left": percent(row.kept),
                "lost": instant(row.bad_from) if row.bad_from else "",
            }
            for row in rows
        ]
    )


def reconcile_table(exposed: Mapping[str, int], reported: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return exposed against reported units, a row per arm."""
    rows = [
        {
            "arm": arm,
            "exposed": units,
            "in the report": reported.get(arm, 0),
            "kept": percent(reported.get(arm, 0) / units) if units else "",
        }
        for arm, units in exposed.items()
    ]
    return table(rows, "arm", "exposed", "in the report", "kept")


def split_table(declared: Mapping[str, float], units: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return declared against observed, a row per variant; an undeclared variant has no declared share.

    Args:
        declared: share by variant.
        units: units counted by variant.
    """
    n = sum(units.values())
    rows = [
        {
            "variant": variant,
            "declared": percent(declared[variant]) if variant in declared else "not declared",
            "observed": percent(units.get(variant, 0) / n) if n else "no unit yet",
            "units": units.get(variant, 0),
        }
        for variant in dict.fromkeys((*declared, *units))
    ]
    return table(rows, "variant", "declared", "observed", "units")


def neg_log10_p(verdict: SrmVerdict | SequentialSrmVerdict | TrafficVerdict) -> float | None:
    """Return -log10 of a verdict's p-value, which can be plotted even for a p-value of 8e-45."""
    if isinstance(verdict, SequentialSrmVerdict):
        return max(verdict.max_log_e_value, 0.0) / log(10)
    if verdict.p_value is None:
        return None
    return 0.0 - log10(max(verdict.p_value, SMALLEST_P))  # 0, not -0, of p = 1


def max_ratio(declared: Mapping[str, float], units: Mapping[str, int]) -> float | None:
    """Return the largest observed over declared share of any variant; 1 is a perfect split."""
    n = sum(units.values())
    ratios = [units.get(variant, 0) / n / share for variant, share in declared.items() if n and share > 0]
    return max(ratios, default=None)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def escape_markdown(text: str) -> str:
    """Return `text` on one line, so that Dagster's markdown renderer shows it literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))
