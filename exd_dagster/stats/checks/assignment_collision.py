"""The check `assignment_collision`: do two flags divide users independently, or share a salt?

It belongs to a fleet and not to one flag, so it is not one of `CHECKS`.
"""

from exd_dagster.stats.checks.check import Check, Wording
from exd_dagster.stats.collisions import CollisionVerdict

ASSIGNMENT_COLLISION = Check(
    name="assignment_collision",
    question="Are the assignments of any two flags independent, or do they share a salt?",
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
