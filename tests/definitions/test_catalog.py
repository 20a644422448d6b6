"""What the catalogue shows of our assets: schemas, counts, kinds, tags, groups, code references."""

import warnings
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

import exd_dagster as exd
from exd_dagster.definitions.catalog import BINS_SCHEMA, LEDGER_SCHEMA, TRUST_SCHEMA, group_of
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED
from tests.fleet import Fleet
from tests.logs import HOUR, START, healthy

OURS = (
    "flag_trust",
    "incident_ledger",
    "flag_decisions",
    "alerting",
    "flag_evaluations",
    "experiments/good_bins",
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"), {"good": healthy(30), "other": healthy(9)})


@pytest.fixture(scope="module")
def instance(fleet: Fleet):
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance, fleet.bins)
        fleet.defs.resolve_job_def("exd_flag_trust").execute_in_process(instance=instance)
        yield instance


def spec(defs: dg.Definitions, key: str) -> dg.AssetSpec:
    return next(s for s in defs.resolve_all_asset_specs() if s.key.to_user_string() == key)


@pytest.mark.parametrize("key", OURS)
def test_every_asset_has_a_description_a_kind_and_the_place_it_is_declared_at(fleet: Fleet, key: str) -> None:
    found = spec(fleet.defs, key)
    assert found.description
    assert found.kinds
    (place,) = found.metadata["dagster/code_references"].code_references
    assert Path(place.file_path).name == "fleet.py"
    assert "build_flag_audit_defs(" in Path(place.file_path).read_text().splitlines()[place.line_number - 1]


@pytest.mark.parametrize(
    ("key", "table", "schema"),
    [
        ("experiments/good_bins", "flag_bins", BINS_SCHEMA),
        ("flag_trust", "flag_trust", TRUST_SCHEMA),
        ("incident_ledger", "incident_ledger", LEDGER_SCHEMA),
    ],
)
def test_the_schema_of_a_table_is_that_of_the_store_with_every_column_described(
    fleet: Fleet, instance: dg.DagsterInstance, key: str, table: str, schema: dg.TableSchema
) -> None:
    with duckdb.connect(str(fleet.folder / "bins.duckdb"), read_only=True) as store:
        kinds = {"timestamp with time zone": "timestamptz"}
        stored = {
            name: kinds.get(kind.lower(), kind.lower())
            for name, kind, *_ in store.execute(f"DESCRIBE {table}").fetchall()
        }
    assert {column.name: column.type for column in schema.columns} == stored
    assert all(column.description for column in schema.columns)
    metadata = spec(fleet.defs, key).metadata
    assert metadata["dagster/table_name"] == table
    assert metadata["dagster/column_schema"] == schema


@pytest.mark.parametrize(
    ("key", "where"), [("experiments/other_bins", "flag_bins WHERE flag_key = 'other'"), ("flag_trust",) * 2]
)
def test_the_row_count_is_that_of_the_table(
    fleet: Fleet, instance: dg.DagsterInstance, key: str, where: str
) -> None:
    event = instance.get_latest_materialization_event(dg.AssetKey.from_user_string(key))
    with duckdb.connect(str(fleet.folder / "bins.duckdb"), read_only=True) as store:
        ((rows,),) = store.execute(f"SELECT count(*) FROM {where}").fetchall()
    assert rows > 0
    assert event.asset_materialization.metadata["dagster/row_count"].value == rows


def test_the_records_say_which_columns_are_read_and_what_each_means(fleet: Fleet) -> None:
    metadata = spec(fleet.defs, "flag_evaluations").metadata
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert set(columns) == {*REQUIRED, *OPTIONAL}
    assert all(column.description for column in columns.values())
    assert {name for name, column in columns.items() if not column.constraints.nullable} == {*REQUIRED}
    assert metadata["dagster/uri"].endswith("log/*.parquet")


def test_the_columns_of_the_records_have_the_names_of_the_log(tmp_path: Path) -> None:
    records = exd.TableRecords(
        table="raw.exposures",
        columns={"timestamp": "at", "unit_id_hash": ("user.id", "device.id")},
        constants={"flag_key": "landing-page"},
    )
    flags = [exd.FlagAudit(key="landing-page", start="2026-03-01")]
    store = DuckDBResource(database=str(tmp_path / "bins.duckdb"))
    metadata = spec(
        exd.build_flag_audit_defs(flags, records=records, store=store), "flag_evaluations"
    ).metadata
    told = {column.name: column.description for column in metadata["dagster/column_schema"].columns}
    assert {"at", "user.id", "device.id"} < set(told)
    assert not {"timestamp", "unit_id_hash", "flag_key"} & set(told)
    assert told["at"].endswith("Read as timestamp.")
    assert metadata["dagster/table_name"] == "raw.exposures"


def test_an_audit_tells_how_many_records_its_hours_have_and_what_it_set_apart(
    fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    (record,) = instance.fetch_observations(dg.AssetKey("flag_evaluations"), limit=1).records
    seen = record.asset_observation.metadata
    log = str(fleet.folder / "log" / "*.parquet")
    end = START + fleet.hours * HOUR
    query = f"SELECT count(*) FROM '{log}' WHERE timestamp < TIMESTAMPTZ '{end}'"
    ((rows,),) = duckdb.connect().execute(query).fetchall()
    assert rows > 0
    assert seen["dagster/row_count"].value == rows
    assert seen["quarantined"].data == {}
    assert "evaluation_id" in seen["columns_absent"].text


def test_the_asset_of_a_loader_is_not_observed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(3)}, options={"records_asset": dg.AssetKey("loaded")})
    with dg.DagsterInstance.ephemeral() as other:
        fleet.run(other, fleet.bins)
        assert not other.fetch_observations(dg.AssetKey("loaded"), limit=1).records


def built(folder: Path, **options) -> dg.Definitions:
    flags = [
        exd.FlagAudit(key="a", start="2026-03-01", namespace="shop", owners=("team:growth",), mode="warn"),
        exd.FlagAudit(key="b", start="2026-03-01", environment="prod eu", owners=("ana@example.com",)),
        exd.FlagAudit(key="c", start="2026-03-01", tags={"exd/mode": "own"}),
    ]
    store = DuckDBResource(database=str(folder / "bins.duckdb"))
    return exd.build_flag_audit_defs(flags, records="logs/*.parquet", store=store, **options)


def test_flags_are_found_by_tags_and_a_flags_own_tags_win(tmp_path: Path) -> None:
    defs = built(tmp_path)
    tags = {key: dict(spec(defs, f"experiments/{key}").tags) for key in ("shop/a_bins", "c_bins")}
    assert {"exd/mode": "warn", "exd/namespace": "shop"}.items() <= tags["shop/a_bins"].items()
    assert tags["c_bins"]["exd/mode"] == "own"
    assert "exd/environment" not in spec(defs, "experiments/prod_eu/b_bins").tags


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (None, ["experiments"] * 3),
        ("owner", ["experiments_growth", "experiments_ana", "experiments"]),
        ("namespace", ["experiments_shop", "experiments", "experiments"]),
        ("environment", ["experiments", "experiments_prod_eu", "experiments"]),
    ],
)
def test_bins_have_a_group_for_each_owner_namespace_or_environment(tmp_path: Path, by, groups) -> None:
    defs = built(tmp_path, group_by=by)
    keys = ("experiments/shop/a_bins", "experiments/prod_eu/b_bins", "experiments/c_bins")
    assert [spec(defs, key).group_name for key in keys] == groups
    dg.Definitions.validate_loadable(defs)


def test_a_group_given_for_a_flag_wins(tmp_path: Path) -> None:
    defs = built(tmp_path, group_by="owner", asset_attributes=lambda flag: {"group_name": f"own_{flag.key}"})
    assert spec(defs, "experiments/shop/a_bins").group_name == "own_a"


def test_an_owner_that_is_no_name_of_a_group_has_none_of_its_own() -> None:
    flag = exd.FlagAudit(key="a", start="2026-03-01", namespace="über/ß")
    assert group_of(flag, "experiments", "namespace") == "experiments_ber"


def test_yaml_takes_group_by(tmp_path: Path) -> None:
    text = """
records: logs/*.parquet
store: bins.duckdb
group_by: owner
flags:
  - {key: a, start: 2026-03-01, owners: ["team:growth"]}
"""
    defs = dg.component_defs(component=FlagAuditComponent.resolve_from_yaml(text))
    assert spec(defs, "experiments/a_bins").group_name == "experiments_growth"


def test_building_definitions_shows_no_warning_of_dagster(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", dg.BetaWarning)
        built(tmp_path)
