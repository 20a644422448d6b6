"""The check `assignment_collision`: do two flags divide users independently, or share a salt?

It belongs to a fleet and not to one flag, so it is not one of `CHECKS`.
"""

from exd_dagster.errors import InputError
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.collisions import CollisionVerdict


def _judge(_: Case) -> CollisionVerdict:
    raise InputError("assignment_collision compares the flags of a fleet; it is a check of flag_trust")


ASSIGNMENT_COLLISION = Check(
    name="assignment_collision",
    question="Are the assignments of any two flags independent, or do they share a salt?",
    judge=_judge,
    alert_type="ASSIGNMENT_COLLISION",
    wording=Wording(
        title="Collision",
        heading="Users of both flags",
        meaning="Two flags divide the same users alike, so the effect of each shows in results of the other.",
        step="Compare the salts of both flags; if they depend on each other by design, name a common layer.",
        corrected="one of them has a salt of its own and a new iteration, audit",
    ),
    verdict=CollisionVerdict,
    blocks="never",
    sent=True,
)
