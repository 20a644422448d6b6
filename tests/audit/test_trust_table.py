"""The table of flags: what is kept of the row before."""

from datetime import datetime, timedelta, timezone

import duckdb
import pytest

from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.audit.trust_table import TrustEntry, read_trust, write_trust
from exd_dagster.config import FlagId

START = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(("trusted", "since"), [(False, 2), (True, 5)])
def test_a_fault_that_turns_out_to_be_older_moves_since_and_a_healthy_flag_keeps_it(trusted, since):
    with duckdb.connect() as connection:
        for hour in (5, 2, 9):
            write_trust(
                connection,
                TrustEntry(
                    TrustRow(
                        flag=FlagId("", "", "f"),
                        iteration_start=START,
                        trusted=trusted,
                        sentence="",
                        since=START + timedelta(hours=hour),
                    )
                ),
            )
        (entry,) = read_trust(connection)
    assert entry.row.since == START + timedelta(hours=since)
