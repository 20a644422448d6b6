"""Arguments of a wrong type are refused by name, all at once, before anything is built."""

from datetime import datetime, timedelta, timezone

import dagster as dg
import ibis
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource

import exd_dagster as exd
from exd_dagster.definitions.fleet.plan import audit_plans
from exd_dagster.errors import ConfigError

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
FLAG = exd.FlagAudit(key="checkout", split={"on": 0.5, "off": 0.5}, start=START)
LOG = pd.DataFrame(
    {"timestamp": [START], "flag_key": ["checkout"], "variant_key": ["on"], "unit_id_hash": ["u1"]}
)


def build(**options):
    store = DuckDBResource(database="bins.duckdb")
    return exd.build_flag_audit_defs([FLAG], records="log.parquet", store=store, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("routes", 5),
        ("routes", [5]),
        ("digest", 5),
        ("reconcile", 5),
        ("on_shutoff", 5),
        ("thresholds", 5),
        ("timing", 5),
        ("grain", "minute"),
        ("name", 5),
        ("group_by", "team"),
        ("records_asset", 5),
        ("mode", "blok"),
        ("timezone", 5),
        ("events", 5),
        ("asset_attributes", 5),
        ("op_tags", 5),
        ("audit_every", "week"),
        ("schedule_status", "on"),
        ("sensor_status", 1),
        ("max_age", -1),
        ("max_age", timedelta(seconds=-1)),
        ("base_url", 5),
        ("monitoring", 5),
    ],
)
def test_option_of_a_fleet_that_is_of_a_wrong_type_is_named(name, value):
    with pytest.raises(ConfigError, match=f"build_flag_audit_defs cannot be used:\n  - {name}: "):
        build(**{name: value})


@pytest.mark.parametrize(
    "url", ["localhost", "localhost:3000", "http://", "dagster.example.com/x", "http://h:x"]
)
def test_an_address_of_the_ui_that_is_no_url_is_refused_wherever_it_is_given(url):
    doors = [
        lambda: build(base_url=url),
        lambda: exd.build_check_alert_sensor({}, [], base_url=url),
        lambda: exd.blocked_by("experiments/f_bins", base_url=url),
        lambda: exd.protect(build(), {}, base_url=url),
    ]
    for door in doors:
        with pytest.raises(ConfigError, match=r"base_url: .* is no URL; write the address of the Dagster UI"):
            door()


@pytest.mark.parametrize("url", ["http://localhost:3000", "https://dagster.example.com/prod/", ""])
def test_an_address_of_the_ui_is_taken(url):
    assert build(base_url=url).sensors


def test_options_of_a_wrong_type_are_named_together():
    with pytest.raises(ConfigError) as refused:
        build(name=5, digest=5, grain="minute")
    assert sorted(fault.split(":")[0] for fault in refused.value.faults) == ["digest", "grain", "name"]


def test_mapping_is_read_as_the_model_in_its_place():
    as_model = build(timing=exd.config.Timing(lateness="2h"), records_asset="raw/log")
    as_mapping = build(timing={"lateness": "2h"}, records_asset=dg.AssetKey(["raw", "log"]))
    assert as_model.resolve_asset_graph().asset_dep_graph == as_mapping.resolve_asset_graph().asset_dep_graph


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flag", 5),
        ("freq", "week"),
        ("start", "x"),
        ("start", 5),
        ("end", START),
        ("now", datetime(2026, 3, 4)),  # noqa: DTZ001 - that is the fault
        ("now", 5),
    ],
)
def test_argument_of_variant_bins_that_cannot_be_meant_is_named(name, value):
    with pytest.raises(ConfigError, match=f"variant_bins cannot be used:\n  - {name}: "):
        exd.variant_bins(LOG, **{"flag": FLAG, name: value})


def test_source_of_flags_that_is_no_path_is_named():
    with pytest.raises(ConfigError, match="flags_from cannot be used:\n  - source: "):
        exd.flags_from(5)


def test_split_that_is_no_mapping_is_named():
    with pytest.raises(ConfigError, match="plan_detection cannot be used:\n  - split: "):
        exd.plan_detection(5, {"on": 1.0}, 100)


def test_connection_that_is_no_ibis_backend_is_named():
    with pytest.raises(ConfigError, match="connection: is no Ibis backend"):
        exd.IbisRecords(connection=5, table="log")
    assert exd.IbisRecords(connection=ibis.duckdb.connect(), table="log").place == "duckdb:log"


def test_values_of_the_fleet_reach_every_flag_that_has_none_of_its_own_all_of_them_together():
    own = exd.FlagAudit(key="cart", split=FLAG.split, start=START, mode="block", timezone="Asia/Tokyo")
    store = DuckDBResource(database="bins.duckdb")
    fleet = {"mode": "warn", "timezone": "Europe/Berlin", "holidays": "DE"}
    exd.build_flag_audit_defs([FLAG, own], records="log.parquet", store=store, **fleet)
    given, kept = next(plan.flags for plan in audit_plans() if plan.name == "exd")
    assert (given.mode, given.timezone, given.holidays) == ("warn", "Europe/Berlin", ("DE",))
    assert (kept.mode, kept.timezone, kept.holidays) == ("block", "Asia/Tokyo", ("DE",))
