"""The levels of the checks."""

from typing import Literal

from pydantic import Field

from exd_dagster.config.model import ConfigModel


class SrmThresholds(ConfigModel):
    """exd's `[srm]` table."""

    significance_level: float = Field(default=0.001, gt=0, lt=1, description="T001 below this p-value.")
    min_sample_size: int = Field(default=100, ge=1, description="T002 below this many units.")


class SequentialSrmThresholds(ConfigModel):
    """The anytime-valid test."""

    method: Literal["combined", "sprt"] = Field(default="combined", description="Which sequential test.")
    alpha: float | None = Field(
        default=None, gt=0, lt=1, description="Level; None: .001 for combined, .01 for sprt."
    )
    delta: float = Field(default=0.02, gt=0, lt=0.5, description="Shift tested by method sprt (share).")


class TrafficDropThresholds(ConfigModel):
    """The traffic test."""

    method: Literal["seasonal", "zscore"] = Field(default="seasonal", description="Which traffic test.")
    alarm_level: float = Field(
        default=1e-4, gt=0, lt=1, description="a of the seasonal test, over its windows."
    )
    baseline: Literal["robust", "mean"] = Field(
        default="robust", description="Of earlier weeks: robust to one outlier week, or their plain mean."
    )
    window: int = Field(default=7, ge=1, description="Bins of history of method zscore.")
    z_threshold: float = Field(default=3.0, gt=0, description="Method zscore fails below minus this.")


class EvaluationRateAnomalyThresholds(ConfigModel):
    """exd's `[evaluation_rate_anomaly]` table."""

    drop_fraction: float = Field(
        default=0.5, gt=0, lt=1, description="A drop blocks only when at least this share of volume is lost."
    )
    window: str = Field(
        default="1h", description="exd's window; accepted for compatibility, the test uses its own."
    )


class ManifestSkewThresholds(ConfigModel):
    """exd's `[manifest_skew]` table."""

    max_versions_behind: int = Field(default=2, ge=0, description="T004 beyond this.")


class VariantIntegrityThresholds(ConfigModel):
    """Units that were seen in more than one variant."""

    warn_share: float = Field(default=0.001, ge=0, le=1, description="WARN from this share of units.")
    fail_share: float = Field(default=0.01, ge=0, le=1, description="Fails from this share of units.")


class SegmentSrmThresholds(ConfigModel):
    """The split of every segment."""

    alpha: float = Field(
        default=0.001,
        gt=0,
        lt=1,
        description="Probability that any segment of a healthy flag ever fails, over all segments and hours.",
    )


class Thresholds(ConfigModel):
    """Every level a verdict depends on; exd's `thresholds.toml` tables under exd's names, then ours."""

    srm: SrmThresholds = SrmThresholds()
    evaluation_rate_anomaly: EvaluationRateAnomalyThresholds = EvaluationRateAnomalyThresholds()
    manifest_skew: ManifestSkewThresholds = ManifestSkewThresholds()
    sequential_srm: SequentialSrmThresholds = SequentialSrmThresholds()
    traffic_drop: TrafficDropThresholds = TrafficDropThresholds()
    variant_integrity: VariantIntegrityThresholds = VariantIntegrityThresholds()
    segment_srm: SegmentSrmThresholds = SegmentSrmThresholds()
    source: str = Field(default="builtin", description="Where these values came from.")
