"""Sample ratio mismatch, single test."""

from exd_dagster.stats.srm.srm import SrmVerdict, srm_test

__all__ = ["SrmVerdict", "srm_test"]
