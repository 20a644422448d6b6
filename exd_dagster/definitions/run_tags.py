"""Run tags that mark audit runs and failing flags, for a team's own run-failure sensors.

A job's tags apply only to runs of that job. Each step of an audit therefore has the tag on its op and tags
the run it is in: a manual run, a backfill, or a job of the project.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import dagster as dg

from exd_dagster.config import FlagId
from exd_dagster.definitions.internals import run_tags, tag_run

AUDIT_TAG = "exd/audit"
"""Tag of a run, and of an op, that does nothing but audit."""

FAILING_TAG = "exd/failing"
"""Tag of a run that flags block: which."""

LONGEST = 1000
"""Characters of a tag; a database index on tags allows some 2,700 bytes."""

Context: TypeAlias = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def audit_op_tags(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the tags of an audit op, merged with those given."""
    return {**(given or {}), AUDIT_TAG: "true"}


def tag_audit(context: Context) -> None:
    """Tag the run as an audit when it has no other steps: its failure is sent by the alerts."""
    run, instance = context.run, context.instance
    if AUDIT_TAG in run.tags or any(AUDIT_TAG not in node.definition.tags for node in context.job_def.nodes):
        return
    if AUDIT_TAG not in run_tags(instance, run.run_id):  # an earlier step may have been first
        tag_run(instance, run.run_id, {AUDIT_TAG: "true"})


def tag_failing(context: Context, flag: FlagId) -> None:
    """Add a flag to those that make the run fail, whatever else the run does."""
    before = run_tags(context.instance, context.run.run_id).get(FAILING_TAG, "")
    if (after := joined(before, str(flag))) != before:
        tag_run(context.instance, context.run.run_id, {FAILING_TAG: after})


def joined(names: str, name: str) -> str:
    """Return a list of names with one more; one that would become too long ends in "..."."""
    known = names.split(", ") if names else []
    if name in known or known[-1:] == ["..."]:
        return names
    if not known and len(name) > LONGEST:
        return name[: LONGEST - 3] + "..."
    whole = ", ".join([*known, name])
    return whole if len(whole) <= LONGEST else f"{names}, ..."
