"""Decisions by people as Dagster records: the asset `flag_decisions` and the job that adds to it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import dagster as dg
from pydantic import Field

from exd_dagster.alerts.messages.answers import Launchpad
from exd_dagster.alerts.past import PastIncident
from exd_dagster.alerts.policy.decisions import CLOSED_FOR, KINDS, OF_CLOSE, VERDICTS, Decision, globs
from exd_dagster.alerts.policy.ledger import known_incidents
from exd_dagster.config import PAIR, FlagAudit, FlagId, to_utc
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.catalog import declared_at
from exd_dagster.definitions.decisions.message_flags import flags_of_message
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import latest_checks, location_of
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.stats.checks import CHECKS, able_to_block, check_of
from exd_dagster.stats.checks.assignment_collision import ASSIGNMENT_COLLISION
from exd_dagster.stats.checks.reconcile import RECONCILE

KEPT = 1000
"""Newest decisions read; older ones have long ended."""
_BASIS = ("reason", "audited_through", "iteration_start")


class DecisionConfig(dg.Config):
    """Run config of the job `flag_decision`; fields as in `Decision`."""

    kind: str = Field(description=f"{', '.join(KINDS)}. " + "; ".join(f"{k}: {v}" for k, v in KINDS.items()))
    flags: str = Field(
        description="Flag key, or a glob over keys or over namespace/environment/key; several with commas "
        "between; message:ID for those of an alert."
    )
    checks: str = Field(default="*", description="Check name, or a glob.")
    reason: str = Field(default="", description="Why; needed unless kind is close.")
    by: str = Field(description="Who decides.")
    until: str = Field(
        default="",
        description="When it ends: 2026-05-01 or 2026-05-01T09:00Z; needed unless kind is close.",
    )
    verdict: str = Field(
        default="",
        description="Of kind close, was it real? " + "; ".join(f"{k}: {v}" for k, v in VERDICTS.items()),
    )
    cause: str = Field(default="", description="Of kind close, why, in a word that others use too: cache.")
    incident: str = Field(
        default="",
        description="Of kind close, the incident's id; empty: the latest of these flags and checks.",
    )


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
        entry = materialization.metadata.get("decision") if materialization else None
        data = entry.value if entry else None
        if isinstance(data, Mapping) and (decision := Decision.from_metadata(data)):
            read.append(decision)
    return tuple(sorted(read, key=lambda decision: decision.made_at))


def make_decision(
    config: Mapping[str, Any],
    flags: Iterable[FlagAudit],
    basis: Mapping[str, Mapping[str, Any]],
    now: datetime,
    *,
    unmonitored: Iterable[FlagId] = (),
    incidents: Iterable[PastIncident] = (),
    reports: Iterable[str] = (),
) -> Decision:
    """Validate a decision.

    Args:
        config: kind, flags, checks, reason, by, until; of a close also verdict, cause, incident.
        flags: the audited flags.
        basis: the current facts of each failing check (`decision_basis`).
        now: when it is recorded (UTC).
        unmonitored: further flags it may cover: those that failed when they left the project.
        incidents: those that a close may be about, also of flags that are not audited any more.
        reports: names of the checks of reports, `reconcile_...`.

    Raises:
        ConfigError: with every fault, for an unknown kind, flag, verdict or incident, an empty reason or
            name, or a bad `until`.
    """
    kind, faults = config["kind"], []
    if kind not in KINDS:
        faults.append(f"kind: '{kind}' is not known.{did_you_mean(kind, KINDS)}")
    needed = ("by",) if kind == "close" else ("reason", "by")
    faults += [f"{name}: is empty; give who decides and why" for name in needed if not config[name].strip()]
    remembered = list(incidents)
    faults += _faults_of_close(config, [incident.id for incident in remembered])
    until = now + CLOSED_FOR
    try:
        if not config["until"].strip() and kind != "close":
            faults.append("until: is empty; give when it ends, such as 2026-05-01 or 2026-05-01T09:00Z")
        elif config["until"]:
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
        **{name: config.get(name, "").strip() for name in OF_CLOSE},
    )
    known = [*(flag.id for flag in flags), *unmonitored]
    known += [incident.flag for incident in remembered] if kind == "close" else []
    faults += idle_parts(decision, known, reports)
    if faults:
        raise ConfigError("the decision", faults)
    return decision


def _faults_of_close(config: Mapping[str, Any], incidents: Iterable[str]) -> list[str]:
    """Return what is wrong with the fields that only a close has."""
    given = {name: config.get(name, "").strip() for name in OF_CLOSE}
    if config["kind"] != "close":
        return [f"{name}: only a close has one; leave it empty" for name, text in given.items() if text]
    verdict, incident, known, faults = given["verdict"], given["incident"], list(incidents), []
    if verdict not in VERDICTS:
        wanted = did_you_mean(verdict, VERDICTS) if verdict else f" Write {', '.join(VERDICTS)}."
        faults.append(f"verdict: '{verdict}' does not say what it was.{wanted}")
    if incident and incident not in known:
        faults.append(f"incident: '{incident}' is not known.{did_you_mean(incident, known)}")
    return faults


def remembered_incidents(instance: dg.DagsterInstance, sensor: str | None = None) -> list[PastIncident]:
    """Return the incidents that alerting remembers: open ones, and those closed within 30 days.

    Args:
        instance: the Dagster instance.
        sensor: name of the alert sensor; None: any.
    """
    return known_incidents(load_states(instance, sensor).values())


def report_checks(checks: Iterable[dg.AssetCheckKey]) -> list[str]:
    """Return the names of those checks that are of reports."""
    return sorted({key.name for key in checks if check_of(key.name) is RECONCILE})


def idle_parts(decision: Decision, flags: Iterable[FlagId], reports: Iterable[str] = ()) -> list[str]:
    """Return the globs of a decision that match no flag or no check, with the nearest name.

    Args:
        decision: the decision.
        flags: the flags it may cover. A waiver may cover the checks that can block, any other decision all.
        reports: names of the checks of reports.
    """
    flags, found = list(flags), []
    for glob in globs(decision.flags) or ("",):
        if not all(any(flag.is_named(part) for flag in flags) for part in glob.split(PAIR)):
            near = did_you_mean(glob, {name for flag in flags for name in (flag.key, str(flag))})
            found.append(f"flags: '{glob}' matches no audited flag.{near}")
    names = [*able_to_block(), *reports]
    if decision.kind != "waive":
        names = [*CHECKS, "trust", "bins_built", ASSIGNMENT_COLLISION.name, *reports]
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
    states = load_states(instance, sensor).values()
    return sorted({incident.flag for state in states for incident in state.unmonitored.values()})


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
    names = ("kind", "flags", "checks", "reason", "by", "until", *OF_CLOSE)
    shown = {name: whole[name] for name in names if whole.get(name)}
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
                utc_now(),
                unmonitored=gone,
                incidents=remembered_incidents(context.instance),
                reports=report_checks(monitored),
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
    spec = dg.AssetSpec(
        names.decisions,
        group_name=group_name,
        description=description,
        kinds={"decision"},
        metadata=declared_at(),
    )
    return spec, record_one


_FORM = {
    "kind": "waive",
    "flags": "",
    "checks": "*",
    "reason": "",
    "by": "",
    "until": "",
    **dict.fromkeys(OF_CLOSE, ""),
}
"""The template shown in the launchpad; its values are invalid until filled in."""

_KINDS_LISTED = "".join(f"\n- **{kind}**: {means}" for kind, means in KINDS.items())
_ASKED = (
    "Records one decision of a person about failing flags. Fill in `kind`, `flags` (a key or glob), `checks` "
    "(a name or glob), `reason`, `by` (your name) and `until`; a close needs `verdict` "
    f"({', '.join(VERDICTS)}) in place of `reason` and `until`. Alerts, and the row `answer` of a failing "
    f"check, link to this form filled in.\n{_KINDS_LISTED}"
)

_DESCRIPTION = (
    "Decisions by people about failing flags, recorded with the job `{job}` or `exd-dagster decide`. "
    + _KINDS_LISTED
)
