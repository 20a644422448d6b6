"""The demo's records hold exactly the planted faults, in the shape of exd's `flag_evaluations`."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from scipy.stats import chisquare

from exd_dagster.config.reasons import EXCLUDED_REASONS
from exd_dagster.demo import data as demo_data
from exd_dagster.demo.data import AFTERGLOW, END, FLAGS, START, DemoData, write_records

BROWSER = "context_attributes->>'browser'"
HEALTHY = [flag for flag in FLAGS if flag.key in {"new-checkout-flow", "search-ranking", "dark-mode"}]


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, progress: list[tuple[int, int]]) -> DemoData:
    folder = tmp_path_factory.mktemp("demo") / "records"
    return write_records(folder, progress=lambda done, total: progress.append((done, total)))


@pytest.fixture(scope="module")
def log(demo: DemoData) -> duckdb.DuckDBPyConnection:
    """A connection with `records`, and `units`: each flag's units at their first exposure before END."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE VIEW records AS FROM '{demo.glob}'")
    connection.execute(
        """
        CREATE TABLE units AS
        SELECT flag_key, unit_id_hash, min(timestamp) AS first_seen, count(*) AS evaluations,
            arg_min(variant_key, (timestamp, variant_key)) AS variant_key,
            arg_min(sdk_version, timestamp) AS sdk_version
        FROM records WHERE timestamp < TIMESTAMPTZ '2026-03-22 00:00:00+00' GROUP BY ALL
        """
    )
    return connection


def counts(log: duckdb.DuckDBPyConnection, sql: str, *values: object) -> dict[str, int]:
    return dict(log.execute(sql, list(values)).fetchall())


def split_p_value(flag_key: str, observed: dict[str, int]) -> float:
    split = next(flag.split for flag in FLAGS if flag.key == flag_key) or {}
    n = sum(observed.values())
    return float(
        chisquare([observed.get(v, 0) for v in split], [share * n for share in split.values()]).pvalue
    )


def test_about_two_million_records_lie_in_one_file_per_utc_day(demo: DemoData) -> None:
    assert 1_900_000 < demo.records < 2_300_000
    assert [file.name for file in demo.files][:2] == ["2026-03-01.parquet", "2026-03-02.parquet"]
    assert len(demo.files) == 22
    assert sum(file.stat().st_size for file in demo.files) < 150_000_000


def test_each_file_holds_the_records_of_its_day_only(log: duckdb.DuckDBPyConnection, demo: DemoData) -> None:
    rows = log.execute(
        f"""
        SELECT filename, min(timestamp)::DATE::VARCHAR, max(timestamp)::DATE::VARCHAR,
            any_value(_partition_date)::VARCHAR
        FROM read_parquet('{demo.glob}', filename = true) GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    assert [(Path(file).stem,) * 3 for file, *_ in rows] == [tuple(days) for _, *days in rows]


def test_progress_is_reported_after_each_file(demo: DemoData, progress: list[tuple[int, int]]) -> None:
    assert progress == [(done, len(demo.files)) for done in range(1, len(demo.files) + 1)]


def test_the_columns_are_those_of_flag_evaluations(log: duckdb.DuckDBPyConnection) -> None:
    columns = [name for name, *_ in log.execute("DESCRIBE records").fetchall()]
    assert columns == [
        *("evaluation_id", "timestamp", "ingested_at", "_partition_date", "schema_version", "namespace"),
        *("environment", "flag_key", "variant_key", "variant_value", "evaluation_reason", "matched_rule_id"),
        *("manifest_version", "manifest_etag", "unit_id_hash", "unit_id_type", "secondary_unit_ids"),
        *("context_attributes", "sdk_name", "sdk_version", "request_id", "trace_id", "span_id"),
    ]


def test_every_record_has_a_ulid_of_its_own(log: duckdb.DuckDBPyConnection, demo: DemoData) -> None:
    distinct, wrong = log.execute(
        """
        SELECT count(DISTINCT evaluation_id),
            count(*) FILTER (NOT regexp_full_match(evaluation_id, '[0-9A-HJKMNP-TV-Z]{26}'))
        FROM records
        """
    ).fetchall()[0]
    assert (distinct, wrong) == (demo.records, 0)


def test_every_hour_before_the_end_is_closed_by_one_hour_of_lateness(log: duckdb.DuckDBPyConnection) -> None:
    ((first, watermark),) = log.execute("SELECT min(timestamp), max(timestamp) FROM records").fetchall()
    assert first >= START
    assert END + timedelta(hours=1) <= watermark < END + AFTERGLOW


def test_every_record_counts_and_arrived_in_time(log: duckdb.DuckDBPyConnection) -> None:
    reasons = {r for (r,) in log.execute("SELECT DISTINCT evaluation_reason FROM records").fetchall()}
    assert not reasons & set(EXCLUDED_REASONS)
    late = (
        "SELECT count(*) FROM records WHERE ingested_at NOT BETWEEN timestamp AND timestamp + INTERVAL 1 HOUR"
    )
    assert log.execute(late).fetchall() == [(0,)]


def test_the_same_seed_gives_the_same_files(demo: DemoData, tmp_path: Path) -> None:
    again = write_records(tmp_path)
    assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in demo.files]


def test_another_seed_gives_other_records() -> None:
    traffic = demo_data._TRAFFIC[0]
    first, other = (demo_data._evaluations(0, traffic, seed)["unit"][:100] for seed in (1, 2))
    assert (first != other).any()


@pytest.mark.parametrize("flag", HEALTHY, ids=lambda flag: flag.key)
def test_a_healthy_flag_keeps_its_declared_split(
    log: duckdb.DuckDBPyConnection, flag: demo_data.FlagAudit
) -> None:
    observed = counts(log, "SELECT variant_key, count(*) FROM units WHERE flag_key = ? GROUP BY 1", flag.key)
    assert split_p_value(flag.key, observed) > 0.05


def test_a_few_units_make_much_of_the_traffic_of_search_ranking(log: duckdb.DuckDBPyConnection) -> None:
    ((share,),) = log.execute(
        """
        SELECT sum(evaluations) FILTER (place <= 0.01) / sum(evaluations)
        FROM (
            SELECT evaluations, cume_dist() OVER (ORDER BY evaluations DESC, unit_id_hash) AS place
            FROM units WHERE flag_key = 'search-ranking'
        )
        """
    ).fetchall()
    assert share > 0.08


def test_homepage_banner_is_wrong_only_behind_the_cache(log: duckdb.DuckDBPyConnection) -> None:
    query = """
        SELECT variant_key, count(*) FROM units
        WHERE flag_key = 'homepage-banner' AND (sdk_version = '0.4.9') = ? GROUP BY 1
    """
    cached, direct = counts(log, query, True), counts(log, query, False)
    assert cached["control"] / sum(cached.values()) == pytest.approx(0.6, abs=0.02)
    assert split_p_value("homepage-banner", direct) > 0.05
    everyone = {variant: cached[variant] + direct[variant] for variant in cached}
    assert everyone["control"] / sum(everyone.values()) == pytest.approx(0.52, abs=0.005)


def test_recommendations_loses_its_treatment_and_none_of_its_traffic(log: duckdb.DuckDBPyConnection) -> None:
    broke = demo_data.RECOMMENDATIONS_BROKE
    query = """
        SELECT variant_key, count(*) FROM records
        WHERE flag_key = 'recommendations' AND timestamp >= ? AND timestamp < ? GROUP BY 1
    """
    before = counts(log, query, broke - timedelta(days=7), broke)
    after = counts(log, query, broke, broke + timedelta(days=7))
    assert set(before) == {"control", "treatment"}
    assert set(after) == {"control"}
    assert sum(after.values()) == pytest.approx(sum(before.values()), rel=0.05)


def test_payment_retry_loses_four_fifths_of_both_arms_in_its_last_six_hours(
    log: duckdb.DuckDBPyConnection,
) -> None:
    dropped = demo_data.PAYMENT_RETRY_DROPPED
    assert END - dropped == timedelta(hours=6)
    query = """
        SELECT variant_key, count(DISTINCT unit_id_hash) FROM records
        WHERE flag_key = 'payment-retry' AND timestamp >= ? AND timestamp < ? GROUP BY 1
    """
    week = timedelta(days=7)
    usual, left = counts(log, query, dropped - week, END - week), counts(log, query, dropped, END)
    assert {variant: left[variant] / usual[variant] for variant in usual} == pytest.approx(
        {"control": 0.2, "treatment": 0.2}, abs=0.04
    )


def test_address_lookup_loses_half_of_treatment_in_safari_alone(log: duckdb.DuckDBPyConnection) -> None:
    broke = demo_data.ADDRESS_LOOKUP_BROKE
    query = f"""
        SELECT variant_key, count(DISTINCT unit_id_hash) FROM records WHERE flag_key = 'address-lookup'
            AND timestamp >= ? AND timestamp < ? AND ({BROWSER} = 'Safari') = ? GROUP BY 1
    """
    days = timedelta(days=6)
    shares = {}
    for name, start, safari in (
        ("before", broke - days, True),
        ("after", broke, True),
        ("others", broke, False),
    ):
        found = counts(log, query, start, start + days, safari)
        shares[name] = found["treatment"] / sum(found.values())
    assert shares == pytest.approx({"before": 0.5, "after": 1 / 3, "others": 0.5}, abs=0.02)


def test_the_flags_end_with_the_data_and_name_their_owners() -> None:
    assert {(flag.start, flag.end) for flag in FLAGS} == {(START, END)}
    assert all(flag.owners for flag in FLAGS)
