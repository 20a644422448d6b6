"""`LiveMonitor`: a thin face over the bins and verdicts of the audit, for one frame in a notebook."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Phase, SequentialSrmThresholds, Thresholds
from exd_dagster.config.instants import instant_of
from exd_dagster.errors import ConfigError, InputError
from exd_dagster.notebook import compat as seed
from exd_dagster.notebook.dispatcher import DeliveryResult, WebhookAlertDispatcher
from exd_dagster.notebook.frame import FLAG, FrameBins, read_export, read_frame
from exd_dagster.notebook.plot import Picture, monitor_plot
from exd_dagster.notebook.srm import (
    Declared,
    Ratios,
    control_of,
    declared_flag,
    sequential_result,
    srm_result,
)
from exd_dagster.notebook.traffic import in_bins, traffic_result
from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.checks.variant_integrity import variant_integrity
from exd_dagster.telemetry.preset import read_preset

if TYPE_CHECKING:
    import pandas as pd

Result: TypeAlias = dict[str, Any]

ALPHA = 0.01
"""Level of the sequential test where none is given, as the notebook's parameters have it."""

_HEADLINES = {
    "TRAFFIC_DROP_ANOMALY": "Traffic dropped.",
    "SRM_SHUTOFF_TRIGGERED": "Sample ratio mismatch: suspend the assignment.",
    "SEQUENTIAL_SRM_TRIGGERED": "Sequential sample ratio mismatch: suspend the assignment.",
}
"""How the message of each alert begins, in the order of the checks."""


class LiveMonitor:
    """Watches one experiment's exposure log for lost traffic and wrong splits.

    A unit counts once, in the hour and variant of its first exposure; every variant is tested, by name; hours
    without a record are zero. The traffic test reads whole hours only. Results are plain Python, so that they
    are strict JSON.

    Attributes:
        df: the log, one row per exposure; may be replaced by a newer one.
        time_col: its column of instants.
        dispatcher: receives new alerts; None: no alerts.
        shutoff_triggered: True while the last run found a split at fault.
    """

    def __init__(
        self,
        df: "pd.DataFrame",
        time_col: str = "",
        dispatcher: WebhookAlertDispatcher | None = None,
        *,
        unit_col: str | None = None,
        preset: str | None = None,
        unit: str | None = None,
        flag: str | None = None,
        time_zone: str = "UTC",
        now: datetime | str | None = None,
        compat: Literal["xpyrment"] | None = None,
    ) -> None:
        """Keep the log; nothing is counted yet.

        Args:
            df: the log.
            time_col: column of the instant of exposure; with a preset it is not needed.
            dispatcher: receives new alerts.
            unit_col: column of the unit; None: `unit_id` or `unit_id_hash`.
            preset: the vendor or SDK that wrote the rows, such as posthog; columns are then not named.
            unit: which of the preset's units is randomized; None: the usual one.
            flag: with a preset, the flag to watch; may be left out where the log holds one alone.
            time_zone: zone of times without an offset.
            now: when the log was read (UTC): silence up to then is an outage. None: the log ends with its
                newest record.
            compat: "xpyrment" gives the numbers of xpyrment's monitor, with what is wrong about them.

        Raises:
            ConfigError: for an unknown `compat` or preset, an unreadable `now`, or columns beside a preset.
        """
        if compat not in (None, "xpyrment"):
            raise ConfigError("LiveMonitor", [f"compat: is {compat!r}; write 'xpyrment' or leave it out"])
        if preset is None and not time_col:
            raise ConfigError("LiveMonitor", ["time_col: name the column of the instant, or give preset"])
        if preset is not None:
            read_preset(preset)
        if preset is not None and (time_col or unit_col or compat):
            raise ConfigError(
                "LiveMonitor",
                ["preset: says where time and unit stand; leave out time_col, unit_col and compat"],
            )
        self.df = df
        self.time_col = time_col
        self.dispatcher = dispatcher
        self.shutoff_triggered = False
        self._unit_col = unit_col
        self._export = (preset, unit, flag)
        self._time_zone = time_zone
        self._now = None if now is None else instant_of(now, "LiveMonitor", "now")
        self._seed = compat is not None
        self._notified: set[str] = set()
        self._declared: Declared | None = None

    def get_binned_traffic(self, variant_col: str = "variant", freq: str = "D") -> "pd.DataFrame":
        """Return newly exposed units, float, by bin (UTC, labelled by its start) and variant."""
        if self._seed:
            return seed.binned_traffic(self.df, self.time_col, variant_col, freq)
        bins = self._count(variant_col).bins
        return in_bins(bins, bins.new_units, freq)

    def get_cumulative_traffic(self, variant_col: str = "variant", freq: str = "D") -> "pd.DataFrame":
        """Return units exposed so far, float, at the end of each bin, by variant."""
        table: pd.DataFrame = self.get_binned_traffic(variant_col, freq).cumsum()
        return table

    def check_traffic_anomaly(
        self,
        variant_col: str = "variant",
        freq: str = "D",
        window: int = 7,
        z_threshold: float = 3.0,
        drop_threshold: float = 0.5,
    ) -> Result:
        """Say whether units stopped arriving within the last `window` bins of `freq`.

        From ten days of history on this is the seasonal test, which knows the hours of the week; before, each
        bin is compared with up to `window` bins before it, at the level of `z_threshold`.

        Returns:
            anomaly_detected, latest_volume, historical_mean, historical_std, z_score (of the bins at fault,
            else of the newest), message; details is the verdict.
        """
        if self._seed:
            volumes = self.get_binned_traffic(variant_col, freq).sum(axis=1).to_numpy()
            return seed.traffic_anomaly(volumes, window, z_threshold, drop_threshold)
        return self._traffic(self._count(variant_col), freq, window, z_threshold, drop_threshold)

    def check_live_srm(self, expected_ratios: Declared, variant_col: str = "variant") -> Result:
        """Test all units so far against the declared split, corrected for repeated looks.

        Args:
            expected_ratios: by variant name; a list in order of variant name; or the phases of a ramp.
            variant_col: column of the variant.

        Returns:
            srm_detected, p_value, observed_counts (in the order of `variants`), expected_ratios, message;
            details and variant_integrity are the verdicts.

        Raises:
            InputError: when the ratios are no positive numbers.
        """
        if self._seed:
            daily = self.get_cumulative_traffic(variant_col)
            return seed.live_srm(daily, _constant(expected_ratios))
        counted = self._count(variant_col)
        return _srm(counted.bins, expected_ratios, ALPHA)[0] | {"quarantined": dict(counted.quarantined)}

    def check_sequential_srm(
        self,
        variant_col: str = "variant",
        target_treatment_ratio: float = 0.5,
        delta: float = 0.02,
        alpha: float = ALPHA,
        *,
        expected_ratios: Declared | None = None,
    ) -> Result:
        """Test the split at every hour at once, for any number of variants.

        Args:
            variant_col: column of the variant.
            target_treatment_ratio: declared share of the treatment, where there are two variants.
            delta: used with compat only; the test looks for shifts of every size.
            alpha: probability that a healthy experiment is ever called broken.
            expected_ratios: the declared split of any number of variants; then no treatment is looked for.

        Returns:
            srm_detected, running_likelihood_ratios (one per hour), stopped_index (hour of detection, -1 if
            none), message; details is the verdict.

        Raises:
            InputError: when the treatment is ambiguous, or a ratio is not a positive number.
        """
        if self._seed and expected_ratios is not None:
            return seed.sequential_in_run(
                self.df, self.time_col, variant_col, _constant(expected_ratios), delta, alpha
            )
        if self._seed:
            return seed.sequential_srm(
                self.df, self.time_col, variant_col, target_treatment_ratio, delta, alpha
            )
        bins = self._count(variant_col).bins
        if expected_ratios is None:
            expected_ratios = _two_arms(bins, target_treatment_ratio)
        return _srm(bins, expected_ratios, alpha)[1]

    def run_telemetry_checks(
        self,
        expected_ratios: Declared,
        variant_col: str = "variant",
        freq: str = "D",
        window: int = 7,
        z_threshold: float = 3.0,
    ) -> Result:
        """Run the three checks and send new alerts to the dispatcher.

        An alert is sent when it begins, and not again while it lasts unless no destination was reached.

        Args:
            expected_ratios: by variant name; a list in order of variant name; or the phases of a ramp.
            variant_col: column of the variant.
            freq: bins of the traffic check, and with compat of its table.
            window: bins of `freq` in which lost traffic is reported.
            z_threshold: level of the plain traffic test.

        Returns:
            shutoff_triggered, alerts_triggered (those active now), traffic_anomaly, cumulative_srm,
            sequential_srm; deliveries has a `DeliveryResult` as a dict for each message sent.
        """
        self._declared = expected_ratios
        if self._seed:
            checks = (
                seed.answered(
                    lambda: self.check_traffic_anomaly(variant_col, freq, window, z_threshold),
                    "anomaly_detected",
                ),
                seed.answered(lambda: self.check_live_srm(expected_ratios, variant_col), "srm_detected"),
                seed.answered(
                    lambda: self.check_sequential_srm(variant_col, expected_ratios=expected_ratios),
                    "srm_detected",
                ),
            )
        else:
            counted = self._count(variant_col)
            srm, sequential = _srm(counted.bins, expected_ratios, ALPHA)
            checks = (self._traffic(counted, freq, window, z_threshold, 0.5), srm, sequential)
        traffic, srm, sequential = checks
        detected = traffic["anomaly_detected"], srm["srm_detected"], sequential["srm_detected"]
        alerts = {
            name: result for name, result, found in zip(_HEADLINES, checks, detected, strict=True) if found
        }
        holding = srm["srm_detected"] or sequential["srm_detected"]
        self.shutoff_triggered = holding or (self._seed and self.shutoff_triggered)
        return {
            "shutoff_triggered": self.shutoff_triggered,
            "alerts_triggered": list(alerts),
            "traffic_anomaly": traffic,
            "cumulative_srm": srm,
            "sequential_srm": sequential,
            "deliveries": [asdict(delivery) for delivery in self._tell(alerts)],
        }

    def plot(self, expected_ratios: Declared | None = None, variant_col: str = "variant") -> Picture:
        """Draw units so far, R(t) and the sequential evidence; a notebook displays the chart.

        Args:
            expected_ratios: the declared split; None: that of the last check, if any.
            variant_col: column of the variant.
        """
        bins = self._count(variant_col).bins
        declared = self._declared if expected_ratios is None else expected_ratios
        verdict = None
        if declared is not None:
            verdict = _judge(declared_flag(FLAG, declared, bins), bins, ALPHA).sequential_srm
        return monitor_plot(bins, control_of(bins.variants), verdict)

    def _count(self, variant_col: str) -> FrameBins:
        preset, unit, flag = self._export
        if preset is not None:
            return read_export(
                self.df, preset=preset, unit=unit, flag=flag, time_zone=self._time_zone, now=self._now
            )
        return read_frame(
            self.df,
            time_col=self.time_col,
            variant_col=variant_col,
            unit_col=self._unit_col,
            time_zone=self._time_zone,
            now=self._now,
        )

    def _traffic(
        self, counted: FrameBins, freq: str, window: int, z_threshold: float, drop_threshold: float
    ) -> Result:
        result = traffic_result(
            counted.closed_bins,
            freq=freq,
            window=window,
            z_threshold=z_threshold,
            drop_threshold=drop_threshold,
        )
        return result | {"quarantined": dict(counted.quarantined)}

    def _tell(self, alerts: Mapping[str, Result]) -> list[DeliveryResult]:
        """Send new alerts and drop ended ones. Compatible mode sends every time."""
        self._notified &= alerts.keys()
        if self.dispatcher is None:
            return []
        deliveries = []
        for name, result in alerts.items():
            if name in self._notified:
                continue
            sent = self.dispatcher.dispatch(name, f"{_HEADLINES[name]} {result['message']}", result)
            if not self._seed and any(delivery.status == "sent" for delivery in sent):
                self._notified.add(name)
            deliveries += sent
        return deliveries


def _srm(bins: FlagBins, declared: Declared, alpha: float) -> tuple[Result, Result]:
    """Return the cumulative and the sequential answer."""
    flag = declared_flag(FLAG, declared, bins)
    verdicts = _judge(flag, bins, alpha)
    named = sorted(flag.variants) if isinstance(declared, Mapping) else list(flag.variants)
    variants = [*named, *sorted(set(bins.variants) - set(named))]
    integrity = variant_integrity(flag, bins, Thresholds()).as_metadata()
    srm = srm_result(verdicts.srm, declared, variants) | {"variant_integrity": integrity}
    return srm, sequential_result(verdicts.sequential_srm)


def _judge(flag: FlagAudit, bins: FlagBins, alpha: float) -> FlagVerdicts:
    return audit_flag(flag, bins, Thresholds(sequential_srm=SequentialSrmThresholds(alpha=alpha)))


def _constant(declared: Declared) -> Ratios:
    """Return constant ratios, the only kind that the compatible rules support."""
    if isinstance(declared, Mapping):
        return declared
    ratios = [part for part in declared if not isinstance(part, Phase)]
    if len(ratios) != len(declared):
        raise InputError("compat='xpyrment' supports no phases; omit compat to test a ramp")
    return ratios


def _two_arms(bins: FlagBins, treatment: float) -> Ratios:
    """Return the declared split of two variants by name; the treatment is the one not called control."""
    if not 0 < treatment < 1:
        raise InputError(f"target_treatment_ratio is {treatment}; give a share between 0 and 1, such as .5")
    names = [name for name, units in zip(bins.variants, bins.new_units.sum(axis=0), strict=True) if units]
    control = control_of(names)
    if len(names) == 2 and control is not None:
        return {name: 1 - treatment if name == control else treatment for name in names}
    if len(names) <= 2 and treatment == 0.5:
        return [0.5, 0.5]
    raise InputError(
        f"variants seen are {names}: the treatment is ambiguous; pass expected_ratios={{name: share, ...}}"
    )
