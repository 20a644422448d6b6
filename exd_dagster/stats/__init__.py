"""Bins to verdicts: pure functions, numpy and scipy only, no I/O."""

from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.fleet import SourceOutage, discovered, source_outage
from exd_dagster.stats.methods.change_point import ChangePoint
from exd_dagster.stats.methods.sprt import sprt_by_unit
from exd_dagster.stats.sequential.evidence import EvidenceState
from exd_dagster.stats.sequential.power import DetectionPlan, plan_detection
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict, sequential_srm_test
from exd_dagster.stats.srm.causes import Cause, likely_causes
from exd_dagster.stats.srm.srm import SrmVerdict, srm_test
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test
from exd_dagster.stats.verdict import Verdict

__all__ = [
    "Cause",
    "ChangePoint",
    "DetectionPlan",
    "EvidenceState",
    "FlagVerdicts",
    "SequentialSrmVerdict",
    "SourceOutage",
    "SrmVerdict",
    "TrafficVerdict",
    "Verdict",
    "audit_flag",
    "discovered",
    "likely_causes",
    "plan_detection",
    "sequential_srm_test",
    "source_outage",
    "sprt_by_unit",
    "srm_test",
    "traffic_drop_test",
]
