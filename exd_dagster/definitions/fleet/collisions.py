"""The check `assignment_collision` of a fleet: are any two flags' assignments one?"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg

from exd_dagster.alerts.model import CheckState
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.internals import CheckRecord
from exd_dagster.definitions.metadata import check_metadata, escape_markdown, table
from exd_dagster.errors import ExdError
from exd_dagster.stats.checks.assignment_collision import ASSIGNMENT_COLLISION
from exd_dagster.stats.collisions import MOST_LISTED, CollisionVerdict, Pair, assignment_collision
from exd_dagster.stats.verdict import Answer

COLLISION = ASSIGNMENT_COLLISION.name


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
        return (
            a.scope == b.scope
            and not (set(of[a].layers) & set(of[b].layers))
            and not (a in broken and b in broken)
        )

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


def pair_states(
    record: CheckRecord, flags: Mapping[FlagId, FlagAudit], open_pairs: Iterable[FlagId]
) -> list[CheckState]:
    """Return the check of a fleet as alerting reads it: one state for each pair of flags.

    Args:
        record: its latest result.
        flags: those of the fleet.
        open_pairs: pairs with an incident: they pass once they are not among the collisions any more.
    """
    facts = record.metadata
    named = {str(flag): flag for flag in flags}
    failing = {}
    for found in facts.get("collisions") or ():
        pair = Pair(**{**found, "flags": tuple(found["flags"]), "arms": tuple(found["arms"])})
        if {*pair.flags} <= named.keys():
            first, second = (named[flag] for flag in pair.flags)
            failing[first.pair(second)] = pair
    answer: Answer = "not_checked"
    if record.passed is not None and facts.get("verdict") in ("pass", "fail"):
        # of more than are listed, one that is not among them may still be one
        answer = "pass" if len(failing) < MOST_LISTED else "insufficient"
    states = [_pair_state(record, flags, name, "fail", pair) for name, pair in failing.items()]
    over = [name for name in open_pairs if name not in failing and flags.keys() >= {*name.members}]
    return states + [_pair_state(record, flags, name, answer) for name in over]


def _pair_state(
    record: CheckRecord,
    flags: Mapping[FlagId, FlagAudit],
    name: FlagId,
    verdict: Answer,
    pair: Pair | None = None,
) -> CheckState:
    both = [flags[flag] for flag in name.members]
    observed = all(flag.mode == "observe" for flag in both)
    numbers = {} if pair is None else pair.as_metadata()
    numbers.pop("log_e_value", None)
    return CheckState(
        flag=name,
        check=COLLISION,
        verdict=verdict,
        severity="WARN" if verdict == "fail" else None,
        sentence=f"{pair}." if pair else str(record.metadata.get("sentence", "")),
        at=record.at,
        run_id=record.run_id,
        facts={**numbers, "headline": pair.headline, "reason": COLLISION} if pair else {},
        mode="observe" if observed else "warn",
        owners=tuple(dict.fromkeys(owner for flag in both for owner in flag.owners)),
        asset=tuple(record.key.asset_key.path),
    )


def _table(pairs: Sequence[Pair]) -> dg.TableMetadataValue:
    return table(
        [
            {
                "flags": " and ".join(pair.flags),
                "shared units": pair.units,
                "rarest": " and ".join(pair.arms),
                "observed": pair.observed,
                "expected": round(pair.expected),
            }
            for pair in pairs
        ]
    )
