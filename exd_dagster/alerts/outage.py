"""Many flags of one source down at once are one fault of the source. Pure."""

from collections.abc import Mapping, Sequence

from exd_dagster.alerts.model import CheckState
from exd_dagster.stats.fleet import FEWEST_FLAGS, SOURCE_SHARE

DROP = "traffic_drop"


def flags_down(found: Sequence[CheckState]) -> Mapping[str, CheckState]:
    """Return the ongoing drops by flag when they are an outage of the source, else nothing.

    It is one from 3 flags and 20 % of those whose traffic was tested, as `stats.fleet.source_outage` has it.

    Args:
        found: the latest state of every monitored check.
    """
    tested = [check for check in found if check.check == DROP and check.verdict in ("pass", "fail")]
    down = {str(check.flag): check for check in tested if check.pages and check.state != "contained"}
    return down if len(down) >= max(FEWEST_FLAGS, SOURCE_SHARE * len(tested)) else {}
