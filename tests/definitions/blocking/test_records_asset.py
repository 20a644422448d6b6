"""`records_asset`: each time the loader has run, what closed since the last audit is audited."""

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.definitions.build import build_flag_audit_defs
from tests.logs import HOUR, healthy, rows, write

BINS = dg.AssetKey(["experiments", "checkout_bins"])


@dg.asset
def load() -> None:
    """Stand for the job that brings the records."""


@pytest.fixture(autouse=True)
def half_past() -> Iterator[None]:
    """No hour ends while a test runs."""
    with time_machine.travel(floor_hour(datetime.now(timezone.utc)) + HOUR / 2):
        yield


@pytest.fixture
def start() -> datetime:
    """The flag began eight hours ago; its log goes on until now."""
    return floor_hour(datetime.now(timezone.utc)) - 8 * HOUR


@pytest.fixture
def defs(tmp_path: Path, start: datetime) -> dg.Definitions:
    log = write(tmp_path / "log", rows("checkout", healthy(8), start=start))
    flag = FlagAudit(key="checkout", split={"control": 0.5, "treatment": 0.5}, start=start)
    store = DuckDBResource(database=str(tmp_path / "bins.duckdb"))
    audit = build_flag_audit_defs([flag], records=log, store=store, records_asset=load.key)
    return dg.Definitions.merge(audit, dg.Definitions(assets=[load]))


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """Let the sensor look once."""
    context = dg.build_sensor_context(instance=instance, definitions=defs, cursor=cursor)
    return defs.resolve_sensor_def("exd_records_audit").evaluate_tick(context)


def test_the_graph_reads_from_the_loader_to_the_bins(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    assert graph.get(BINS).parent_keys == {load.key}
    assert [key for key in graph.external_asset_keys if "evaluations" in key.to_user_string()] == []


def test_what_the_loader_brought_is_audited_once(
    defs: dg.Definitions, instance: dg.DagsterInstance, start: datetime
) -> None:
    dg.materialize([load], instance=instance)
    found = tick(defs, instance)
    (request,) = found.run_requests
    audited = defs.resolve_job_def("exd_audit").execute_in_process(instance=instance, tags=request.tags)
    assert audited.success
    assert instance.get_materialized_partitions(BINS) == {f"{start + 6 * HOUR:%Y-%m-%d-%H:%M}"}
    assert not tick(defs, instance, found.cursor).run_requests


def test_hours_between_two_loads_are_audited_together(
    defs: dg.Definitions, instance: dg.DagsterInstance, start: datetime
) -> None:
    hours = [f"{start + hour * HOUR:%Y-%m-%d-%H:%M}" for hour in range(7)]
    instance.report_runless_asset_event(dg.AssetMaterialization(BINS, partition=hours[2]))
    dg.materialize([load], instance=instance)
    (request,) = tick(defs, instance).run_requests
    asked = [request.tags[f"dagster/asset_partition_range_{side}"] for side in ("start", "end")]
    assert asked == [hours[3], hours[6]]
