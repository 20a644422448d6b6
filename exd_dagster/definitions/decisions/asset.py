"""Decisions by people as Dagster records: the asset `flag_decisions` and the job that adds to it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any

import dagster as dg
from pydantic import Field

from exd_dagster.alerts.messages.launchpad import Launchpad
from exd_dagster.alerts.policy.decisions import KINDS, Decision, globs
from exd_dagster.alerts.state import StateStore, sensors
from exd_dagster.config import FlagAudit, FlagId, to_utc
from exd_dagster.definitions.decisions.message_flags import flags_of_message
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import cursor_storage, latest_checks, location_of
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.stats.checks import CHECKS, able_to_block

KEPT = 1000
"""Newest decisions read; older ones have long ended."""
_BASIS = ("reason", "audited_through", "iteration_start")


class DecisionConfig(dg.Config):
    """Run config of the job `flag_decision`; fields as in `Decision`."""

    kind: str = Field(
        description="acknowledge, silence, waive or end. " + "; ".join(f"{k}: {v}" for k, v in KINDS.items())
    )
    flags: str = Field(
        description="Flag key, or a glob over keys or over namespace/environment/key; several with commas "
        "between; message:ID for those of an alert."
    )
    checks: str = Field(default="*", description="Check name, or a glob.")
    reason: str = Field(description="Why.")
    by: str = Field(description="Who decides.")
    until: str = Field(description="When it ends: 2026-05-01 or 2026-05-01T09:00Z.")


def load_decisions(instance: dg.DagsterInstance, fleet: str = DEFAULT_FLEET) -> tuple[Decision, ...]:
    """Return the decisions recorded about the flags of a fleet, oldest first.

    Args:
        instance: the Dagster instance; decisions are materializations of `flag_decisions`.
        fleet: name of the fleet.
    """
    found = instance.fetch_materializations(FleetNames(fleet).decisions, limit=KEPT).records
    read = []
    for record in found:
        materialization = record.asset_materialization
        values = {} if materialization is None else materialization.metadata
        entry = values.get("decision")
        data = getattr(entry, "data", None)
        decision = Decision.from_metadata(data) if isinstance(data, Mapping) else None
        if decision is not None:
            read.append(decision)
    return tuple(sorted(read, key=lambda decision: decision.made_at))


def make_decision(
    config: Mapping[str, Any],
    flags: Iterable[FlagAudit],
    basis: Mapping[str, Mapping[str, Any]],
    now: datetime,
    *,
    unmonitored: Iterable[FlagId] = (),
) -> Decision:
    """Validate a decision.

    Args:
        config: kind, flags, checks, reason, by, until.
        flags: the audited flags.
        basis: the current facts of each failing check (`decision_basis`).
        now: when it is recorded (UTC).
        unmonitored: further flags it may cover: those that failed when they left the project.

    Raises:
        ConfigError: with every fault, for an unknown kind or flag, an empty reason or name, or a bad `until`.
    """
    faults = []
    if config["kind"] not in KINDS:
        faults.append(f"kind: '{config['kind']}' is not known.{did_you_mean(config['kind'], KINDS)}")
    faults += [
        f"{field}: is empty; give who decides and why"
        for field in ("reason", "by")
        if not config[field].strip()
    ]
    until = now
    try:
        until = to_utc(config["until"])  # type: ignore[assignment]
        if until <= now:
            faults.append(f"until: {config['until']} has passed; give an instant to come")
    except ValueError as error:
        faults.append(f"until: {error}; write 2026-05-01 or 2026-05-01T09:00Z")
    decision = Decision(
        kind=config["kind"],
        flags=config["flags"],
        checks=config["checks"],
        reason=config["reason"],
        by=config["by"],
        until=until,
        made_at=now,
        basis=dict(basis),
    )
    known = [*(flag.id for flag in flags), *unmonitored]
    faults += idle_parts(decision, known)
    if faults:
        raise ConfigError("the decision", faults)
    return decision


def idle_parts(decision: Decision, flags: Iterable[FlagId]) -> list[str]:
    """Return the globs of a decision that match no flag or no check, with the nearest name.

    Args:
        decision: the decision.
        flags: the flags it may cover. A waiver may cover the checks that can block, any other decision all.
    """
    flags, found = list(flags), []
    for glob in globs(decision.flags) or ("",):
        if not any(flag.is_named(glob) for flag in flags):
            near = did_you_mean(glob, {name for flag in flags for name in (flag.key, str(flag))})
            found.append(f"flags: '{glob}' matches no audited flag.{near}")
    names = able_to_block() if decision.kind == "waive" else [*CHECKS, "trust", "bins_built"]
    if not any(fnmatchcase(name, decision.checks) for name in names):
        what = "check that blocks" if decision.kind == "waive" else "check"
        found.append(f"checks: '{decision.checks}' matches no {what}.{did_you_mean(decision.checks, names)}")
    return found


def unmonitored_flags(instance: dg.DagsterInstance, sensor: str | None = None) -> list[FlagId]:
    """Return the flags that were failing when they were no longer monitored.

    Args:
        instance: the Dagster instance.
        sensor: name of the alert sensor that sent it; None: any.
    """
    storage = cursor_storage(instance)
    states = [StateStore(storage, name).load() for name in ([sensor] if sensor else sensors(storage))]
    return sorted({incident.flag for state in states if state for incident in state.unmonitored.values()})


def decision_basis(
    instance: dg.DagsterInstance, monitored: Mapping[dg.AssetCheckKey, FlagAudit]
) -> dict[str, dict[str, Any]]:
    """Return, by `<flag>:<check>`, facts of the checks failing now: a waiver covers these faults only."""
    records, _ = latest_checks(instance, list(monitored))
    return {
        f"{monitored[record.key].id}:{record.key.name}": {
            name: record.metadata[name] for name in _BASIS if record.metadata.get(name) is not None
        }
        for record in records
        if record.passed is False
    }


def record_decision(instance: dg.DagsterInstance, decision: Decision, fleet: str = DEFAULT_FLEET) -> None:
    """Record a decision about flags of a fleet outside a run, as the command line does."""
    key = FleetNames(fleet).decisions
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key=key, metadata=decision_metadata(decision))
    )


def decision_metadata(decision: Decision) -> dict[str, Any]:
    """Return a decision as Dagster metadata: readable fields, and the whole as JSON."""
    whole = decision.as_metadata()
    shown = {name: whole[name] for name in ("kind", "flags", "checks", "reason", "by", "until")}
    return {
        **{name: dg.MetadataValue.text(text) for name, text in shown.items()},
        "decision": dg.MetadataValue.json(whole),
    }


def decision_launchpad(fleet: str, location: str, base_url: str = "") -> Launchpad:
    """Return what builds addresses of a fleet's decision job in the launchpad.

    Args:
        fleet: name of the fleet.
        location: name of the code location, "" where it is not known.
        base_url: of the Dagster UI; "" for addresses below it.
    """
    names = FleetNames(fleet)
    return Launchpad(
        base_url=base_url, location=location, job=names.decision_job, op=names.decisions.path[-1]
    )


def build_flag_decisions(
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    *,
    group_name: str = "experiments",
    fleet: str = DEFAULT_FLEET,
) -> tuple[dg.AssetSpec, dg.JobDefinition]:
    """Build the asset `flag_decisions` and the job that records one decision from the launchpad.

    The asset is external, so that "Materialize all" cannot make a decision.

    Args:
        monitored: every audited check and its flag.
        group_name: asset group.
        fleet: name of the fleet.
    """
    names = FleetNames(fleet)
    flags = list({flag.id: flag for flag in monitored.values()}.values())

    @dg.op(name=names.decisions.path[-1], description="Records one decision.")
    def decide(context: dg.OpExecutionContext, config: DecisionConfig) -> None:
        basis, gone = decision_basis(context.instance, monitored), unmonitored_flags(context.instance)
        try:
            about = flags_of_message(context.instance, config.flags, [*(flag.id for flag in flags), *gone])
            decision = make_decision(
                {**config.model_dump(), "flags": about},
                flags,
                basis,
                datetime.now(timezone.utc),
                unmonitored=gone,
            )
        except ConfigError as error:
            again = decision_launchpad(fleet, location_of(context.run)).filled_in(config.model_dump())
            link = {"form": dg.MetadataValue.url(again)} if location_of(context.run) else {}
            raise dg.Failure(str(error), metadata=link, allow_retries=False) from None
        context.log_event(
            dg.AssetMaterialization(asset_key=names.decisions, metadata=decision_metadata(decision))
        )

    @dg.job(
        name=names.decision_job,
        executor_def=dg.in_process_executor,
        description=_ASKED,
        config={"ops": {decide.name: {"config": _FORM}}},
    )
    def record_one() -> None:
        decide()

    description = _DESCRIPTION.format(job=names.decision_job)
    return dg.AssetSpec(names.decisions, group_name=group_name, description=description), record_one


_FORM = {"kind": "waive", "flags": "", "checks": "*", "reason": "", "by": "", "until": ""}
"""The template shown in the launchpad; its values are invalid until filled in."""

_ASKED = (
    "Records one decision of a person about failing flags. Fill in: `kind` ("
    + "; ".join(f"{k}: {v}" for k, v in KINDS.items())
    + "), `flags` (a key or glob), `checks` (a name or glob), `reason`, `by` (your name) and `until`. "
    "Alerts, and the row `answer` of a failing check, link to this form filled in."
)

_DESCRIPTION = (
    "Decisions by people about failing flags, recorded with the job `{job}` or `exd-dagster decide`. "
    + " ".join(f"{k}: {v}." for k, v in KINDS.items())
)
