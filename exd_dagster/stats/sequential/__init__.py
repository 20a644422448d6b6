"""Sample ratio mismatch, watched hour by hour."""

from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict, sequential_srm_test

__all__ = ["SequentialSrmVerdict", "sequential_srm_test"]
