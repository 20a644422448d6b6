"""Records -> the bins of one flag, in memory, as a telemetry command needs them."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.store.select import select_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.cli.progress import scanning
from exd_dagster.cli.telemetry.request import Request
from exd_dagster.config import AT_ONCE, FlagAudit
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import UNREADABLE_LINE, Unreadable


@dataclass(frozen=True, slots=True)
class Counted:
    """The bins of one flag, and what a reader of them should know.

    Attributes:
        bins: its hours.
        notes: one sentence each.
    """

    bins: FlagBins
    notes: tuple[str, ...]


def count_flag(request: Request, flag: FlagAudit, *, closed_only: bool = False) -> Counted:
    """Build the bins of one flag in memory, from its start to its end.

    Args:
        request: what to read.
        flag: who is counted.
        closed_only: exclude the hour of the newest record.

    Raises:
        RecordsError: when the records cannot be read, or the flag cannot be counted.
    """
    with duckdb.connect() as connection, scanning(connection, f"Counting {flag.key}"):
        store = BinStore(connection)
        report = store.update(
            request.records, [flag], flag.start, flag.end or request.now, timing=AT_ONCE, now=request.now
        )
        build = report.flags[flag.id]
        if build.error:
            raise RecordsError(_as_options(build.error))
        bins = select_bins(connection, flag, closed_only=closed_only)
    quarantined = [
        (why, count) for why, count in report.quarantined.items() if count and why != UNREADABLE_LINE
    ]
    notes = [f"quarantined, {why}: {count:,} of the log's rows" for why, count in quarantined]
    return Counted(bins, (*left_out(report.unreadable), *notes))


def _as_options(message: str) -> str:
    """Name the command's options where an error names the arguments behind them."""
    return message.replace("environment=", "--environment").replace("namespace=", "--namespace")


def left_out(unreadable: Sequence[Unreadable]) -> tuple[str, ...]:
    """Name the files and lines that could not be read."""
    return tuple(f"left out: {item}" for item in unreadable)
