"""End to end: records with returning users and heavy-tailed evaluations, through bins, to verdicts."""

from datetime import timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.stats import audit_flag, srm_test
from exd_dagster.telemetry.sources.duckdb import as_records
from tests.calibration.simulate import at_most
from tests.stats.build import HALVES, START, flag

pytestmark = pytest.mark.calibration

DAYS = 14


def records(random: np.random.Generator, flags: list[str], users: int) -> pd.DataFrame:
    """Evaluations of users who come back on many days, Pareto 1.5 of them each, always in their variant."""
    owner = np.repeat(np.arange(len(flags)), users)
    first = random.uniform(0, DAYS * 24, len(owner)) ** 1.3 % (DAYS * 24)
    count = np.minimum(1 + random.pareto(1.5, len(owner)), 500).astype(int)
    rows = np.repeat(np.arange(len(owner)), count)
    hour = (first[rows] + random.exponential(48, len(rows))) % (DAYS * 24)
    variant = random.random(len(owner)) < 0.5
    return pd.DataFrame(
        {
            "timestamp": pd.Timestamp(START) + pd.to_timedelta(hour, unit="h"),
            "flag_key": np.array(flags)[owner[rows]],
            "variant_key": np.where(variant[rows], "treatment", "control"),
            "unit_id_hash": rows.astype(str),
        }
    )


def test_returning_users_and_heavy_tails_raise_no_false_alarm(measured):
    """The same records raise many when evaluations are tested as if they were units."""
    keys = [f"flag_{i:03}" for i in range(400)]
    frame = records(np.random.default_rng(31), keys, 800)
    flags = [flag(key=key) for key in keys]
    end = START + timedelta(days=DAYS)
    with duckdb.connect() as connection:
        store = BinStore(connection)
        store.update(as_records(frame), flags, START, end, timing=Timing(lateness=timedelta(0)), now=end)
        audits = [audit_flag(one, store.read(one)) for one in flags]
    false = sum(bool(audit.srm.severity == "ERROR" or audit.sequential_srm.failed) for audit in audits)
    rows = frame.groupby(["flag_key", "variant_key"]).size().unstack()
    naive = sum(srm_test(dict(row), HALVES).failed for _, row in rows.iterrows())
    measured(
        "false alarm from records, returning users, Pareto 1.5", "<= .001", f"{false} of {len(keys)} flags"
    )
    measured(
        "the same, testing evaluations as units", "(what counting units avoids)", f"{naive} of {len(keys)}"
    )
    assert all(780 <= audit.srm.n <= 800 for audit in audits)  # the newest hour is still open
    assert false <= at_most(0.001, len(keys))
    assert naive > 0.3 * len(keys)
