"""Names of any length and script, owners as Dagster takes them, and stores that cannot be opened."""

import time
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource
from hypothesis import given, settings
from hypothesis import strategies as st

from exd_dagster.bins.places.file import cannot_open
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.run_tags import LONGEST, joined
from exd_dagster.definitions.store import connected
from exd_dagster.errors import ConfigError, ExdError, StoreError, nearest_name
from tests.fleet import Fleet, verdicts
from tests.logs import START, healthy

LONG = "checkout/" + "very-long-name." * 17
SPLIT = {"control": 0.5, "treatment": 0.5}


@pytest.mark.parametrize("key", [LONG, "Bezahlen \N{ROCKET} neu", "支付流程" * 60, "a b/c.d:e"])
def test_a_key_as_vendors_allow_it_is_audited_and_its_report_built(tmp_path: Path, key: str) -> None:
    fleet = Fleet(tmp_path, {key: healthy(6)})
    with dg.DagsterInstance.ephemeral() as instance:
        result = fleet.run(instance, fleet.bins)
    assert result.success
    assert verdicts(result, fleet.keys[key])["sequential_srm"] == "pass"
    assert all(len(node.name) <= 250 for node in fleet.job(fleet.bins).nodes)


def test_long_keys_that_differ_at_their_end_have_assets_of_their_own() -> None:
    flags = [FlagAudit(key="k" * 300 + end, start=START) for end in "abc"]
    keys = set(bins_asset_keys(flags).values())
    assert len(keys) == 3
    assert all(len(key.path[-1]) <= 100 for key in keys)


def test_a_run_tag_holds_a_name_of_any_length() -> None:
    assert len(joined("", "k" * 5000)) <= LONGEST


@pytest.mark.parametrize("owner", ["alice", "team:", "alice@localhost", "", "Al <a@b.de>", "a@b.technology"])
def test_an_owner_that_dagster_refuses_is_a_fault_of_the_flag(owner: str) -> None:
    with pytest.raises(ConfigError, match="team:name"):
        FlagAudit(key="checkout", start=START, owners=[owner])


@pytest.mark.parametrize("owner", ["team:checkout", "team:a b", "a.b+c@mail.example.com"])
def test_an_owner_that_is_accepted_is_accepted_by_dagster(owner: str) -> None:
    assert dg.AssetSpec("a", owners=list(FlagAudit(key="checkout", start=START, owners=[owner]).owners))


def test_the_nearest_name_differs_in_case_and_separators_first() -> None:
    assert nearest_name("TEST-1234", ["test_1235", "test_1234", "TEST-12345"]) == "test_1234"
    assert nearest_name("checkuot", ["checkout", "search"]) == "checkout"
    assert nearest_name("checkout", ["xyz"]) is None


def _broken_store(folder: Path, kind: str) -> Path:
    path = folder / "exd.duckdb"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("these are not the bins you look for " * 200)
    elif kind == "corrupt":
        duckdb.connect(str(path)).close()
        path.write_bytes(path.read_bytes()[:4096] + b"x" * 8192)
    else:
        path = folder / "missing" / "exd.duckdb"
    return path


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        ("folder", "give the path of a file"),
        ("text", "give another path"),
        ("corrupt", "restore a copy"),
        ("missing", "create "),
    ],
)
def test_a_store_that_cannot_be_opened_says_so_at_once(tmp_path: Path, kind: str, fix: str) -> None:
    path, begun = _broken_store(tmp_path, kind), time.monotonic()
    with pytest.raises(StoreError, match=fix), connected(DuckDBResource(database=str(path))):
        pass
    assert time.monotonic() - begun < 5


def test_a_store_of_another_duckdb_names_both_versions() -> None:
    error = duckdb.IOException(
        "Trying to read a database file with version number 99, but we can only read versions up to 68"
    )
    said = cannot_open("exd.duckdb", error)
    assert duckdb.__version__ in said
    assert "install the version that wrote it" in said


NAMES = st.text(max_size=300) | st.sampled_from(
    [LONG, "a" * 256, "\N{ROCKET}", " ", "..", "a/b", "%Y", "'; --"]
)


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(NAMES, min_size=1, max_size=4),
    environment=st.none() | NAMES,
    owner=NAMES | st.just("team:checkout"),
    split=st.dictionaries(NAMES, st.floats(), max_size=3) | st.just(SPLIT),
    group=st.sampled_from(["experiments", "a b", "", "ü"]),
    name=st.sampled_from(["exd", "a b", "", "ü"]),
    prefix=st.lists(st.sampled_from(["experiments", "a b", "", "ü", "a/b"]), max_size=2),
    cron=st.sampled_from(["", "0 3 * * *", "never", "61 * * * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Mars/Olympus", ""]),
    start=st.sampled_from(["2026-03-01", "2999-01-01", "yesterday", "2026-03-01T00:00", "0001-01-01"]),
)
def test_any_configuration_gives_definitions_that_load_or_an_error_of_ours(
    keys, environment, owner, split, group, name, prefix, cron, zone, start
):
    try:
        flags = [
            FlagAudit(key=key, environment=environment, owners=[owner], split=split, start=start)
            for key in keys
        ]
        defs = build_flag_audit_defs(
            flags,
            pd.DataFrame({"timestamp": [START], "flag_key": "a", "variant_key": "b", "unit_id_hash": "c"}),
            DuckDBResource(database=":memory:"),
            group_name=group,
            name=name,
            key_prefix=prefix,
            cron=cron,
            cron_timezone=zone,
        )
    except ExdError:
        return
    defs.get_repository_def().load_all_definitions()


@settings(max_examples=25, deadline=None)
@given(keys=st.lists(NAMES.filter(bool), min_size=1, max_size=4, unique=True), namespace=st.none() | NAMES)
def test_flags_of_any_distinct_names_have_distinct_assets_that_load(keys, namespace):
    try:
        flags = [FlagAudit(key=key, namespace=namespace, split=SPLIT, start=START) for key in keys]
    except ConfigError as error:
        assert "half a character" in str(error)  # noqa: PT017 - either outcome is right
        return
    assert len({*bins_asset_keys(flags).values()}) == len(flags)
    defs = build_flag_audit_defs(flags, "log.parquet", DuckDBResource(database=":memory:"))
    defs.get_repository_def().load_all_definitions()
