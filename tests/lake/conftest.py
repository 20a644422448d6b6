"""Lakes with each kind of catalog and storage: real files, a real PostgreSQL, a local S3 server."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from exd_dagster.bins.places.lake import LakePlace
from tests.servers.postgres import Postgres, running

_serial = count()


@pytest.fixture(scope="session", autouse=True)
def _extensions() -> None:
    """Skip where the packages of DuckDB's extensions are not installed: `make lake` installs them."""
    pytest.importorskip("duckdb_extension_ducklake", reason="run `make lake`")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Return the URL of a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="company")
        yield "s3://company"
    server.stop()


@pytest.fixture
def make_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], LakePlace]:
    """Return a function that names a new lake: on files ("sqlite", "duckdb") or "postgres" (on S3)."""

    def make(kind: str) -> LakePlace:
        if kind != "postgres":
            name = {"sqlite": "sqlite:{}/catalog.sqlite", "duckdb": "{}/catalog.ducklake"}[kind]
            return LakePlace(name.format(tmp_path), f"{tmp_path}/data")
        server = request.getfixturevalue("postgres")
        database = server.create(f"lake_{next(_serial)}")
        return LakePlace(database, f"{request.getfixturevalue('s3')}/{database.rpartition('/')[2]}/data")

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def lake(request: pytest.FixtureRequest, make_lake: Callable[[str], LakePlace]) -> LakePlace:
    """A new lake that several processes may write to."""
    return make_lake(request.param)


def start(script: str, *values: object) -> subprocess.Popen[str]:
    """Start a process that runs a script."""
    line = [sys.executable, "-c", textwrap.dedent(script), *map(str, values)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def copied(place: LakePlace, folder: Path) -> LakePlace:
    """Copy a lake that lies in files."""
    shutil.copytree(Path(place.data_path).parent, folder)
    return LakePlace(f"sqlite:{folder}/catalog.sqlite")
