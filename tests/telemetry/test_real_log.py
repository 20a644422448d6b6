"""A dirty log as it was found: every line wrapped in quotes, the last one cut off."""

from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.sources.duckdb import FileRecords

LOG = Path(__file__).parents[3] / "shared" / "data" / "ab_exposures_raw.csv"


@pytest.mark.skipif(not LOG.exists(), reason=f"{LOG.name} is not here")
def test_a_dirty_log_names_what_it_could_not_read_and_keeps_the_rest():
    source = FileRecords(
        path=LOG,
        columns={"unit_id_hash": "user_id", "variant_key": "group"},
        constants={"flag_key": "landing-page"},
    )
    flag = FlagAudit(key="landing-page", start="2017-01-02", split={"control": 0.5, "treatment": 0.5})
    now = datetime(2017, 1, 26, tzinfo=timezone.utc)
    store = BinStore(duckdb.connect())
    report = store.update(source, [flag], flag.start, now, now=now)
    assert [str(part).split(": ", 1)[1] for part in report.unreadable] == [
        "1 line cannot be read: line 57830"
    ]
    bins = store.read(flag)
    assert len({hour.date() for hour in bins.hours}) == 23
    assert (len(bins), int(bins.new_units.sum()), int(bins.evaluations.sum())) == (540, 57_498, 57_645)
    assert bins.fact_total("multi_variant_units") > 0
