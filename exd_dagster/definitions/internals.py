"""All calls of Dagster outside its public interface; each has a contract test."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar

import dagster as dg
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import func, select

from exd_dagster.alerts.state import CursorStorage
from exd_dagster.definitions.metadata import DETAILS

C = TypeVar("C", bound=dg.Component)

_OVER = frozenset({dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """The latest execution of one asset check.

    Attributes:
        key: the check.
        passed: its boolean, None when its run ended without an evaluation.
        severity: "ERROR" or "WARN", "" without an evaluation.
        description: markdown; the first line is the sentence.
        metadata: plain Python values; tables are for the UI only and left out.
        at: when it was evaluated, else planned (UTC).
        run_id: the run.
        target_at: time of the evaluated materialization (UTC), None if there was none.
    """

    key: dg.AssetCheckKey
    passed: bool | None
    severity: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    at: datetime
    run_id: str
    target_at: datetime | None = None


def latest_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> tuple[list[CheckRecord], frozenset[dg.AssetCheckKey]]:
    """Read the latest execution of every check in one storage call.

    For a check whose run is in progress, the last completed execution is returned. One whose run ended
    without an evaluation has `passed=None`.

    Returns:
        The records of every check that ever ran, and the keys of those running now.
    """
    wanted = frozenset(keys)
    storage = instance.event_log_storage
    latest = storage.get_latest_asset_check_execution_by_key(list(keys))
    planned = {
        key: record for key, record in latest.items() if key in wanted and record.status.value == "PLANNED"
    }
    active = active_runs(instance, {record.run_id for record in planned.values()})
    records: list[CheckRecord] = []
    running: set[dg.AssetCheckKey] = set()
    for key, record in latest.items():
        if key not in wanted:
            continue
        if key not in planned:
            records.append(_completed(key, record))
        elif record.run_id in active:
            running.add(key)
            records += _before(storage, key)
        else:
            at = datetime.fromtimestamp(record.create_timestamp, timezone.utc)
            records.append(CheckRecord(key=key, passed=None, at=at, run_id=record.run_id))
    return records, frozenset(running)


def active_runs(instance: dg.DagsterInstance, run_ids: set[str]) -> set[str]:
    """Return which of these runs have not ended."""
    if not run_ids:
        return set()
    going = [status for status in dg.DagsterRunStatus if status not in _OVER]
    found = instance.get_run_records(dg.RunsFilter(run_ids=sorted(run_ids), statuses=going))
    return {record.dagster_run.run_id for record in found}


def newest_execution(instance: dg.DagsterInstance) -> int | None:
    """Return a number that grows with every execution of a check; None in a storage without one."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return None
    with storage.index_connection() as connection:
        return connection.execute(select(func.max(AssetCheckExecutionsTable.c.id))).scalar() or 0


def checks_since(instance: dg.DagsterInstance, number: int) -> set[dg.AssetCheckKey]:
    """Return the checks that were executed after `newest_execution` gave this number."""
    storage: Any = instance.event_log_storage
    query = select(AssetCheckExecutionsTable.c.asset_key, AssetCheckExecutionsTable.c.check_name).where(
        AssetCheckExecutionsTable.c.id > number
    )
    with storage.index_connection() as connection:
        rows = connection.execute(query.distinct()).fetchall()
    keys = ((dg.AssetKey.from_db_string(asset), name) for asset, name in rows)
    return {dg.AssetCheckKey(asset, name) for asset, name in keys if asset is not None}


def same_instance(one: dg.DagsterInstance | None, other: dg.DagsterInstance) -> bool:
    """Return whether both are one instance: a sensor is given a new object on every tick."""
    if one is other or one is None:
        return one is other
    both = one.is_persistent and other.is_persistent
    return both and one.get_ref().to_dict() == other.get_ref().to_dict()


def _before(storage: Any, key: dg.AssetCheckKey) -> list[CheckRecord]:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

    done = {Status.SUCCEEDED, Status.FAILED}
    return [_completed(key, r) for r in storage.get_asset_check_execution_history(key, limit=1, status=done)]


def _completed(key: dg.AssetCheckKey, record: Any) -> CheckRecord:
    evaluation = record.evaluation
    target = evaluation.target_materialization_data
    return CheckRecord(
        key=key,
        passed=evaluation.passed,
        severity=evaluation.severity.value,
        description=evaluation.description or "",
        metadata=_metadata(evaluation.metadata),
        at=datetime.fromtimestamp(record.event.timestamp, timezone.utc),
        run_id=record.run_id,
        target_at=datetime.fromtimestamp(target.timestamp, timezone.utc) if target else None,
    )


def _metadata(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values; what is shown rounded beside the whole of a verdict gives way to it."""
    known = {
        name: value.value
        for name, value in entries.items()
        if not isinstance(value, dg.TableMetadataValue)  # its numbers are in the metadata too
    }
    whole = known.get(DETAILS)
    if not isinstance(whole, Mapping):
        return known
    return {name: value for name, value in known.items() if name != DETAILS} | dict(whole)


def location_of(run: dg.DagsterRun) -> str:
    """Return the name of the code location a run was launched from, "" for one executed in process."""
    origin = run.remote_job_origin
    return origin.location_name if origin is not None else ""


def cursor_storage(instance: dg.DagsterInstance) -> CursorStorage:
    """Return the instance's key-value storage, which every Dagster storage has."""
    return instance.daemon_cursor_storage


def materialized_at(instance: dg.DagsterInstance, asset: dg.AssetKey) -> datetime | None:
    """Return when an asset was last materialized (UTC), None when never."""
    event = instance.get_latest_materialization_event(asset)
    return None if event is None else datetime.fromtimestamp(event.timestamp, timezone.utc)


def last_run_seconds(instance: dg.DagsterInstance, job: str) -> float | None:
    """Return how long the last run of a job that ended took (s), None when none did."""
    wanted = dg.RunsFilter(job_name=job, statuses=list(_OVER))
    for record in instance.get_run_records(wanted, limit=1):
        if record.start_time and record.end_time:
            return float(record.end_time - record.start_time)
    return None


def partitions_of(
    context: dg.AssetCheckExecutionContext, asset: dg.AssetKey
) -> dg.PartitionsDefinition[Any] | None:
    """Return the partitions of an asset that a check is about, None without any."""
    graph = context.job_def.asset_layer.asset_graph
    return graph.get(asset).partitions_def if graph.has(asset) else None


def run_tags(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """Return the tags of a run as they are now."""
    run = instance.get_run_by_id(run_id)
    return {} if run is None else run.tags


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> None:
    """Add tags to a run that has begun."""
    instance.add_run_tags(run_id, tags)


def watch_run(instance: dg.DagsterInstance, run_id: str, seen: Callable[[Any], None]) -> None:
    """Call `seen` with each event of a run executed in this process."""
    instance.add_event_listener(run_id, seen)


def downstream_assets(
    repository: dg.RepositoryDefinition, assets: Collection[dg.AssetKey]
) -> dict[dg.AssetKey, list[str]]:
    """Return, by asset, the names of the assets that read it directly, sorted."""
    graph = repository.asset_graph
    known = graph.get_all_asset_keys()
    return {
        asset: sorted(child.to_user_string() for child in graph.get(asset).child_keys)
        for asset in assets
        if asset in known
    }


def project_components(context: dg.ComponentLoadContext, kind: type[C]) -> list[C]:
    """Return every component of a kind in the project; none where Dagster builds one without a project."""
    from dagster.components.core.component_tree import TestComponentTree

    tree = context.component_tree
    return [] if isinstance(tree, TestComponentTree) else tree.get_all_components(of_type=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """The facts of a Dagster instance that `doctor` needs.

    Attributes:
        daemons: last heartbeat (UTC) of each required daemon, None if there never was one.
        errors: first line of the last error of each daemon that had one.
        switches: state set in the UI for each schedule and sensor: True running, False stopped.
        run_monitoring: whether lost runs are marked failed.
        retries_failed_checks: whether a run that failed a check is retried.
        pool_limits: limit of concurrent steps of each requested pool; None: unlimited.
    """

    daemons: Mapping[str, datetime | None]
    errors: Mapping[str, str]
    switches: Mapping[str, bool]
    run_monitoring: bool
    retries_failed_checks: bool
    pool_limits: Mapping[str, int | None]


def instance_facts(instance: dg.DagsterInstance, *pools: str) -> InstanceFacts:
    """Read the facts that `doctor` needs.

    Args:
        instance: the Dagster instance.
        *pools: names of the pools whose limits are read.
    """
    beats = instance.get_daemon_heartbeats()
    needed = instance.get_required_daemon_types()
    limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    return InstanceFacts(
        daemons={
            name: datetime.fromtimestamp(beats[name].timestamp, timezone.utc) if name in beats else None
            for name in needed
        },
        errors={
            name: str(beat.errors[0].message).partition("\n")[0]
            for name, beat in beats.items()
            if beat.errors
        },
        switches={
            state.instigator_name: state.status.value == "RUNNING"
            for state in instance.all_instigator_state()
            if state.status.value in ("RUNNING", "STOPPED")
        },
        run_monitoring=instance.run_monitoring_enabled,
        retries_failed_checks=instance.run_retries_enabled
        and instance.run_retries_retry_on_asset_or_op_failure,
        pool_limits={pool: limits.get(pool, instance.global_op_concurrency_default_limit) for pool in pools},
    )
