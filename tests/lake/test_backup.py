"""The commands of docs/production.md for dumps, run on PostgreSQL and a lake as they stand there."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.audit.trust_table import read_trust, write_trust
from exd_dagster.bins.places.lake import LakePlace
from exd_dagster.bins.store import schema
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import StoreError
from tests.bins.conftest import cells, flag, log, update
from tests.faults.test_bins_killed import AFTER, BEFORE, FIRST, SECOND
from tests.lake.deployment import FILES, ROOT
from tests.lake.test_sharing import entry
from tests.servers.postgres import Postgres, running

pytestmark = pytest.mark.lake
STOPPED = {"daemon", "webserver", "code"}
"""All that has connections to the databases."""


@pytest.fixture(scope="module")
def databases() -> Iterator[Postgres]:
    """A server of its own, with the roles and databases of the compose file."""
    passwords = {"DAGSTER_DB_PASSWORD": "one", "EXD_DB_PASSWORD": "two"}
    with running() as server:
        subprocess.run([FILES / "postgres-init.sh"], env={**at(server), **passwords}, check=True)
        yield server


@pytest.fixture
def page(databases: Postgres, tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs the commands of the section on backups: those with one of these words."""
    section = (
        (ROOT / "docs" / "production.md").read_text().partition("\n## Backup\n")[2].partition("\n## ")[0]
    )
    lines = re.findall(r"^\$ docker compose (.+)$", section, re.MULTILINE)

    def run(*words: str, **changes: str) -> None:
        chosen = [line for line in lines if any(word in line.split() for word in words)]
        assert {word for line in chosen for word in line.split()} >= {*words}
        for line in chosen:
            if line.split()[0] in ("stop", "start"):
                assert {*line.split()[1:]} == STOPPED
                continue
            command = line.removeprefix("exec -T postgres ")
            assert command != line
            for old, new in changes.items():
                command = re.sub(rf"\b{old}\b", new, command)
            subprocess.run(["sh", "-c", command], cwd=tmp_path, env=at(databases), check=True)

    return run


def at(server: Postgres) -> dict[str, str]:
    return {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port)}


RESTORE = ("stop", "dropdb", "createdb", "pg_restore", "start")


@pytest.fixture
def lake(databases: Postgres, s3: str) -> LakePlace:
    return LakePlace(f"postgresql://exd:two@127.0.0.1:{databases.port}/exd", f"{s3}/backup/bins/")


def counted(lake: LakePlace, rows: list[tuple[float, str, str]]) -> dict[object, object]:
    with closing(lake.connect()) as connection:
        store = BinStore(connection)
        update(store, log(*rows))
        return cells(store.read(flag()))


def trusted(lake: LakePlace, *written: str) -> list[str]:
    """Write what is known of these flags, and return the flags of which anything is known."""
    with closing(lake.connect()) as connection:
        for key in written:
            write_trust(connection, entry(key))
        return sorted(each.row.flag.key for each in read_trust(connection))


def test_a_restored_catalog_is_that_of_the_dump_and_goes_on(page, lake):
    """What was written after the dump is gone, and nothing of it comes back with the next write."""
    assert counted(lake, FIRST) == BEFORE
    page("pg_dump")
    assert trusted(lake, "after-the-dump") == ["after-the-dump"]
    assert counted(lake, SECOND) == AFTER
    page(*RESTORE)
    assert trusted(lake) == []
    with closing(lake.connect(read_only=True)) as connection:
        assert cells(BinStore(connection).read(flag())) == BEFORE
    assert trusted(lake, "later") == ["later"]
    assert counted(lake, SECOND) == AFTER


def test_an_older_version_refuses_the_store_of_a_newer_one_until_the_dump_is_restored(page, lake):
    counted(lake, FIRST)
    page("pg_dump")
    with pytest.MonkeyPatch.context() as newer:
        newer.setattr(schema, "FORMAT", schema.FORMAT + 1)
        newer.setitem(schema._ADDED, schema.FORMAT, "CREATE TABLE exd_of_the_future (flag INTEGER);")
        assert counted(lake, SECOND) == AFTER
    with pytest.raises(StoreError, match=f"has format {schema.FORMAT + 1}, this version"):
        counted(lake, SECOND)
    page(*RESTORE)
    assert counted(lake, SECOND) == AFTER


def test_a_restored_instance_is_that_of_the_dump(page, databases, tmp_path, monkeypatch):
    pytest.importorskip("dagster_postgres", reason="run `make lake`")
    address = f"postgresql+psycopg2://dagster:one@127.0.0.1:{databases.port}/dagster"
    monkeypatch.setenv("DAGSTER_DATABASE_URL", address)
    monkeypatch.setenv("DAGSTER_LOG_DIR", str(tmp_path / "logs"))

    def runs(*made: str) -> set[str]:
        with dg.DagsterInstance.from_config(str(FILES)) as instance:
            for run in made:
                instance.create_run_for_job(nothing, run_id=run)
            return {run.run_id for run in instance.get_runs()}

    before, after = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    runs(before)
    page("pg_dump")
    assert runs(after) == {before, after}
    page(*RESTORE, exd="dagster")
    assert runs() == {before}


@dg.job
def nothing() -> None:
    """Do nothing."""
