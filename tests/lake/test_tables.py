"""Tables that checks and alerting keep beside the bins, in a lake: one worker writes, the next reads."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.audit.carried_table import read_carried
from exd_dagster.audit.flag import audit
from exd_dagster.audit.ledger_table import read_ledger, write_ledger
from exd_dagster.audit.trust_table import read_trust, write_trust
from exd_dagster.config import Thresholds
from tests.stats.build import bins_of, flag, hours, seasonal_units

pytestmark = pytest.mark.lake
DAYS = 16


def test_incidents_written_by_one_worker_are_replaced_and_read_by_the_next(lake):
    first = LedgerRow(incident="a", flag=flag().id, check="srm", opened_at=hours(1), bad_from=hours(0))
    other = replace(first, check="sequential_srm", blocked=True)
    with closing(lake.connect()) as connection:
        assert read_ledger(connection) == []
        write_ledger(connection, [first, other])
    answered = replace(first, resolved_at=hours(5), verdict="real", answered_by="ana", note="it's 100 % real")
    with closing(lake.connect()) as connection:
        write_ledger(connection, [answered])
        assert read_ledger(connection) == [other, answered]


def test_the_night_of_a_second_worker_goes_on_from_what_the_first_carried(lake):
    bins = bins_of(np.stack([seasonal_units(seed, DAYS, 50) for seed in (1, 2)], axis=1))
    for days in (DAYS - 1, DAYS):
        with closing(lake.connect()) as connection:
            tonight, carried = bins.between(bins.start, hours(24 * days)), read_carried(connection, flag().id)
            done = audit(flag(), tonight, Thresholds(), now=hours(24 * days), carried=carried)
            write_trust(connection, done.trust_entry(""), carried)
    assert carried.used == carried.saved.keys()
    with closing(lake.connect()) as connection:
        assert len(read_trust(connection)) == 1
        assert read_carried(connection, flag().id).known.keys() == carried.saved.keys()
