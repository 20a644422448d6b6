"""Records in object storage, read through fsspec from a local S3 server."""

import dagster as dg
import duckdb
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.duckdb import FileRecords, ParquetRecords
from tests.bins.conftest import HOUR, START, cells, flag, log, update

LATE = (30, "end", "control")
ROWS = [(1, "a", "control"), (2, "b", "treatment"), LATE]
COUNTED = {(1, "control"): (1, 1, 1), (2, "treatment"): (1, 1, 1)}


@pytest.fixture(scope="module")
def server():
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    storage = s3fs.S3FileSystem()
    storage.mkdir("logs")
    yield storage
    storage.rm("logs", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def counted(source):
    store = BinStore(duckdb.connect())
    report = update(store, source)
    update(store, source)
    return cells(store.read(flag())), report


def put(bucket, name, frame, tmp_path):
    frame.to_parquet(tmp_path / "part.parquet")
    bucket.put_file(str(tmp_path / "part.parquet"), f"logs/{name}")


def test_parquet_in_a_bucket_is_read_and_a_bad_object_is_named(bucket, tmp_path):
    put(bucket, "a/1.parquet", log(*ROWS), tmp_path)
    bucket.pipe_file("logs/a/2.parquet", b"torn")
    found, report = counted("s3://logs/a/*.parquet")
    assert found == COUNTED
    assert [part.file for part in report.unreadable] == ["s3://logs/a/2.parquet"]


def test_ndjson_in_a_bucket_is_read_and_a_bad_line_is_named(bucket):
    frame = log(*ROWS).assign(timestamp=lambda t: t["timestamp"].astype(str))
    content = frame.to_json(orient="records", lines=True) + '{"cut'
    bucket.pipe_file("logs/a/1.ndjson", content.encode())
    found, report = counted(FileRecords(path="s3://logs/a/*.ndjson"))
    assert found == COUNTED
    assert "line 4" in report.unreadable[0].why


def test_only_the_objects_of_the_window_are_read(bucket, tmp_path):
    put(bucket, "exd/2026-03-01/1.parquet", log(*ROWS[:2]), tmp_path)
    put(bucket, "exd/2026-03-02/1.parquet", log(LATE), tmp_path)
    bucket.pipe_file("logs/exd/2026-03-09/1.parquet", b"outside the window, or it would be named")
    found, report = counted(ParquetRecords(path="s3://logs/exd/%Y-%m-%d/*.parquet"))
    assert found == COUNTED
    assert report.unreadable == ()


def test_a_bucket_without_a_match_is_named(bucket):
    with pytest.raises(RecordsError, match=r"no file matches s3://logs/none/\*\.parquet"):
        counted("s3://logs/none/*.parquet")


def test_a_scheme_that_nothing_can_open_is_named_with_the_fix():
    with pytest.raises(RecordsError, match=r"nosuch://logs/x\.parquet is not a URL that fsspec can open"):
        counted("nosuch://logs/x.parquet")


def test_an_audit_in_dagster_reads_records_in_a_bucket(bucket, tmp_path, instance, store):
    put(bucket, "exd/2026-03-01/1.parquet", log(*ROWS[:2]), tmp_path)
    put(bucket, "exd/2026-03-02/1.parquet", log(LATE), tmp_path)
    audit = flag(end=START + 24 * HOUR)
    defs = build_flag_audit_defs([audit], records="s3://logs/exd/%Y-%m-%d/*.parquet", store=store)
    bins = dg.AssetSelection.assets(bins_asset_keys([audit])[audit.id])
    job = dg.define_asset_job("audit", bins, executor_def=dg.in_process_executor)
    result = (
        dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
        .resolve_job_def("audit")
        .execute_in_process(instance=instance, tags=range_tags("2026-03-01-00:00", "2026-03-01-23:00"))
    )
    (srm,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "srm"]
    assert srm.metadata["n"].value == 2
