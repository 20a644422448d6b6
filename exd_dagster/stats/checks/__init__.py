"""Every check of a flag, each declared in a file of its own and listed here."""

from collections.abc import Collection

from exd_dagster.config import FlagAudit
from exd_dagster.config.faults import nearest_faults
from exd_dagster.errors import ConfigError
from exd_dagster.stats.checks.assignment_collision import ASSIGNMENT_COLLISION
from exd_dagster.stats.checks.check import Check, Wording
from exd_dagster.stats.checks.reconcile import RECONCILE
from exd_dagster.stats.checks.segment_srm import SEGMENT_SRM
from exd_dagster.stats.checks.segment_traffic import SEGMENT_TRAFFIC
from exd_dagster.stats.checks.sequential_srm import SEQUENTIAL_SRM
from exd_dagster.stats.checks.srm import SRM
from exd_dagster.stats.checks.stage_srm import STAGE_SRM
from exd_dagster.stats.checks.traffic_drop import TRAFFIC_DROP
from exd_dagster.stats.checks.variant_integrity import VARIANT_INTEGRITY
from exd_dagster.stats.checks.version_skew import VERSION_SKEW

CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        SRM,
        SEQUENTIAL_SRM,
        TRAFFIC_DROP,
        SEGMENT_SRM,
        SEGMENT_TRAFFIC,
        STAGE_SRM,
        VERSION_SKEW,
        VARIANT_INTEGRITY,
    )
}
"""Every check by name, in display order. To add a check, write its file and list it here."""


def checks_of(flag: FlagAudit | None = None) -> list[Check]:
    """Return the checks that a flag has; None: those of every flag."""
    return [
        check
        for check in CHECKS.values()
        if not check.needs or (flag is not None and getattr(flag, check.needs))
    ]


def check_of(name: str) -> Check:
    """Return the check of a name; `reconcile` has one for each report, `reconcile_...`.

    One that is not registered has its name for all texts, and blocks nothing.
    """
    if name == RECONCILE.name or name.startswith(f"{RECONCILE.name}_"):
        return RECONCILE
    if name == ASSIGNMENT_COLLISION.name:
        return ASSIGNMENT_COLLISION
    return CHECKS.get(name) or Check(
        name=name,
        question="",
        alert_type=name.upper(),
        wording=Wording(title=name, heading=name),
        blocks="never",
    )


def blocks(check: str, block_on: Collection[str] = ()) -> bool:
    """Return whether a failure of this check blocks a flag in mode block.

    Args:
        check: name of a check; of one that is not registered no failure blocks.
        block_on: the further checks that the flag lets block.
    """
    when = check_of(check).blocks
    return when == "by default" or (when == "when asked" and check in block_on)


def able_to_block() -> list[str]:
    """Return the names of the checks whose failure blocks, or would if a flag asked for it."""
    return [name for name, check in CHECKS.items() if check.blocks != "never"]


def with_evidence(evidence: str) -> tuple[str, ...]:
    """Return the names of the checks that rest on this evidence."""
    return tuple(check.name for check in CHECKS.values() if check.evidence == evidence)


def ensure_block_on(flag: FlagAudit) -> None:
    """Refuse a flag that lets a check block which there is not, or which can only inform.

    Raises:
        ConfigError: with the nearest name.
    """
    if faults := nearest_faults(flag.block_on, able_to_block(), "block_on: check that can block"):
        raise ConfigError(f"flag {flag.id}", faults)
