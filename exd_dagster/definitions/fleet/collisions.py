"""The check `assignment_collision` of a fleet: are any two flags' assignments one?"""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.metadata import check_metadata, escape_markdown
from exd_dagster.errors import ExdError
from exd_dagster.stats.collisions import CollisionVerdict, Pair, assignment_collision

COLLISION = "assignment_collision"
QUESTION = "Are the assignments of any two flags independent, or do they share a salt?"


def fleet_collisions(
    bins: BinStore, flags: Sequence[FlagAudit], broken: Collection[FlagId] = ()
) -> CollisionVerdict:
    """Compare the assignments of every two flags that should be independent.

    These are flags of one namespace and environment without a common name in `layers`. Two flags whose own
    splits are both broken are not compared: what broke them may have broken them together.

    Args:
        bins: the store, whose first exposures are compared.
        flags: those of the fleet.
        broken: flags whose own split fails.
    """
    of = {flag.id: flag for flag in flags}

    def comparable(a: FlagId, b: FlagId) -> bool:
        scope = (a.namespace, a.environment) == (b.namespace, b.environment)
        return scope and not (set(of[a].layers) & set(of[b].layers)) and not (a in broken and b in broken)

    arms = {
        flag.id: [[name for name, share in phase.split.items() if share > 0] for phase in flag.schedule]
        for flag in flags
    }
    try:
        return assignment_collision(bins.shared_units(flags), arms, comparable)
    except ExdError as error:
        said = f"Not checked: {error}."
        return CollisionVerdict(
            check=COLLISION, verdict="not_checked", reason="not_computable", sentence=said
        )


def collision_result(verdict: CollisionVerdict) -> dg.AssetCheckResult:
    """Return the answer of the check."""
    tables = {
        name: _table(pairs)
        for name, pairs in (("collisions", verdict.collisions), ("dependent", verdict.dependent))
        if pairs
    }
    return dg.AssetCheckResult(
        check_name=COLLISION,
        passed=not verdict.failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=escape_markdown(verdict.sentence),
        metadata={**check_metadata(verdict.as_metadata(), {}), **tables},
    )


def _table(pairs: Sequence[Pair]) -> Any:
    records = [
        dg.TableRecord(
            {
                "flags": " and ".join(pair.flags),
                "shared units": pair.units,
                "rarest": f"{pair.arms[0]} and {pair.arms[1]}",
                "observed": pair.observed,
                "expected": round(pair.expected),
            }
        )
        for pair in pairs
    ]
    kinds = {
        "flags": "string",
        "shared units": "int",
        "rarest": "string",
        "observed": "int",
        "expected": "int",
    }
    columns = [dg.TableColumn(name, kind) for name, kind in kinds.items()]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))
