"""Run the demo: write records, audit them through Dagster, deliver the alerts, read back what happened."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""

JOB = "audit_and_report"
HOME = Path()
"""The folder with dagster.yaml and workspace.yaml; `dagster dev` started there shows what the demo did."""


@dataclass(frozen=True, slots=True)
class FlagOutcome:
    """What the audit said of one flag, and whether its report was built."""

    key: str
    srm: str
    sequential_srm: str
    traffic_drop: str
    report: str
    n: int
    declared: Mapping[str, float]
    observed: Mapping[str, int]
    sentence: str


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """One alert as one destination received it."""

    channel: str
    flag: str
    alert_type: str
    status: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole demo in numbers, as `.demo/summary.json` keeps it."""

    flags: tuple[FlagOutcome, ...]
    deliveries: tuple[DeliveryOutcome, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the verdicts, reports and deliveries as strict JSON."""
        answers = ("srm", "sequential_srm", "traffic_drop", "report")
        return {
            "flags": {flag.key: {name: getattr(flag, name) for name in answers} for flag in self.flags},
            "deliveries": [asdict(delivery) for delivery in self.deliveries],
        }
