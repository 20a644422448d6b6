"""Bins to verdicts: pure functions, numpy and scipy only, no I/O."""

from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.sequential import SequentialSrmVerdict, sequential_srm_test
from exd_dagster.stats.srm import SrmVerdict, srm_test
from exd_dagster.stats.traffic import TrafficVerdict, traffic_drop_test
from exd_dagster.stats.verdict import Verdict

__all__ = [
    "FlagVerdicts",
    "SequentialSrmVerdict",
    "SrmVerdict",
    "TrafficVerdict",
    "Verdict",
    "audit_flag",
    "sequential_srm_test",
    "srm_test",
    "traffic_drop_test",
]
