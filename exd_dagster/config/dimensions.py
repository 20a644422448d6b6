"""By which record columns the units of a flag are broken down."""

from exd_dagster.config import FlagAudit

STANDARD = ("sdk_name", "sdk_version", "manifest_version", "evaluation_reason")
"""Record columns that divide the units of every flag into segments, where its log has them.

The environment is none: a flag's records come from one.
"""


def dimensions_of(flag: FlagAudit) -> tuple[str, ...]:
    """Return the columns by which a flag's units are broken down: its own `dimensions`, then `STANDARD`."""
    return tuple(dict.fromkeys((*flag.dimensions, *STANDARD)))
