"""A run that is killed at any write leaves the store as before or as after, and the next run ends right."""

import shutil
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.bins.store.store import BinStore, open_store
from exd_dagster.definitions.store import connected
from exd_dagster.errors import StoreError
from tests.bins.conftest import NOW, cells, flag, log, update

LATE = (30, "end", "control")
FIRST = [(1, "a", "control"), (4, "b", "control"), LATE]
SECOND = [(0.5, "b", "treatment"), *FIRST, (2, "c", "treatment")]
BEFORE = {(1, "control"): (1, 1, 1), (4, "control"): (1, 1, 1)}
AFTER = {
    (0, "treatment"): (1, 1, 1),
    (1, "control"): (1, 1, 1),
    (2, "treatment"): (1, 1, 1),
    (4, "control"): (0, 1, 1),
}

WORKER = """
    import os, re, signal, sys
    import duckdb
    from exd_dagster.bins.store.store import BinStore
    from tests.bins.conftest import flag, log, update
    from tests.faults.test_bins_killed import SECOND

    class Killed:
        def __init__(self, connection, at):
            self.connection, self.left = connection, at
        def __getattr__(self, name):
            return getattr(self.connection, name)
        def execute(self, query, *values):
            tables = "meta|sources|hours|flags|scopes|variants|units|bins|facts"
            kept = re.match(f"(INSERT INTO|DELETE FROM|UPDATE) exd_({tables})", query)
            if kept or query == "COMMIT":
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1
            return self.connection.execute(query, *values)

    path, at = sys.argv[1], int(sys.argv[2])
    killed = Killed(duckdb.connect(path), at)
    update(BinStore(killed), log(*SECOND))
    print("writes", at - killed.left)
"""


def run_worker(path, at):
    script = textwrap.dedent(WORKER)
    command = [sys.executable, "-c", script, str(path), str(at)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.e2e
def test_killed_at_any_write_the_store_is_as_before_and_the_next_run_ends_right(tmp_path):
    path = tmp_path / "whole.duckdb"
    with open_store(path) as store:
        update(store, log(*FIRST))
    whole = path.read_bytes()
    writes = int(run_worker(path, 10_000).stdout.split()[-1])
    assert writes > 5
    for at in range(writes):
        path = tmp_path / f"killed_{at}.duckdb"
        path.write_bytes(whole)
        assert run_worker(path, at).returncode == -9
        with open_store(path) as store:
            assert cells(store.read(flag())) == BEFORE
            update(store, log(*SECOND))
            assert cells(store.read(flag())) == AFTER


def test_killed_in_the_middle_the_store_is_as_before(tmp_path):
    path = tmp_path / "bins.duckdb"
    with open_store(path) as store:
        update(store, log(*FIRST))
    assert run_worker(path, 4).returncode == -9
    with open_store(path) as store:
        assert cells(store.read(flag())) == BEFORE
        update(store, log(*SECOND))
        assert cells(store.read(flag())) == AFTER


@pytest.fixture
def holder(tmp_path):
    """Another process that has the store open, until it is sent a line."""
    script = (
        f"import duckdb; c = duckdb.connect({str(tmp_path / 'bins.duckdb')!r}); print(1, flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    if process.poll() is None:
        process.communicate(b"\n")


def test_a_store_that_another_process_writes_to_is_refused_with_the_fix(tmp_path, holder):
    with pytest.raises(StoreError, match="in use by another process"), open_store(tmp_path / "bins.duckdb"):
        pass
    holder.communicate(b"\n")
    with open_store(tmp_path / "bins.duckdb") as store:
        assert len(store.read(flag())) == 0


def test_a_run_waits_for_the_store_until_another_process_lets_go(tmp_path, holder, monkeypatch):
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            holder.communicate(b"\n")

    monkeypatch.setattr("dagster._utils.backoff.time", SimpleNamespace(sleep=wait))
    with connected(DuckDBResource(database=str(tmp_path / "bins.duckdb"))) as connection:
        update(BinStore(connection), log(*FIRST))
        assert cells(BinStore(connection).read(flag())) == BEFORE
    assert len(waits) == 3


def test_a_run_that_has_waited_long_enough_says_who_holds_the_store(tmp_path, holder, monkeypatch):
    waits = []
    monkeypatch.setattr("dagster._utils.backoff.time", SimpleNamespace(sleep=waits.append))
    resource = DuckDBResource(database=str(tmp_path / "bins.duckdb"))
    with pytest.raises(StoreError, match=rf"in use by another process .*{holder.pid}"), connected(resource):
        pass
    assert sum(waits) > 60


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path):
    path = tmp_path / "bins.duckdb"
    with open_store(path) as store:
        update(store, log(*FIRST))
    script = """
        import resource, signal, sys
        import duckdb, pandas as pd
        from exd_dagster.bins.store.store import BinStore
        from exd_dagster.errors import StoreError
        from tests.bins.conftest import START, log, update
        from tests.faults.test_bins_killed import FIRST

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        connection = duckdb.connect(sys.argv[1])
        store = BinStore(connection)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # as a disk that is full would
        many = log(*FIRST, *((5, f"unit {i}", "control") for i in range(60_000)))
        try:
            update(store, many)
        except StoreError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Nothing was changed" in done.stdout, done.stderr
    with open_store(path) as store:
        assert cells(store.read(flag())) == BEFORE


@pytest.mark.e2e
@pytest.mark.parametrize("units", [2_000, 60_000, 200_000])
def test_a_disk_without_space_is_reported_and_loses_nothing(units, small_disk):
    """Whether space ends while counting, at the commit or when the log of changes is folded in."""
    path = small_disk / "bins.duckdb"
    with open_store(path) as store:
        update(store, log(*FIRST))
    many = log(*FIRST, *((5, f"unit {i}", "control") for i in range(units)))
    with pytest.raises(StoreError, match=r"free disk space.*run again"), open_store(path) as store:
        update(store, many)
    with open_store(path) as store:
        assert cells(store.read(flag())) == BEFORE


@pytest.fixture
def small_disk(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk of two megabytes can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_memory_that_is_too_small_is_reported_and_loses_nothing(tmp_path):
    connection = duckdb.connect(str(tmp_path / "bins.duckdb"))
    store = BinStore(connection)
    update(store, log(*FIRST), now=NOW)
    many = log(*FIRST, *((5, f"unit {i}", "control") for i in range(200_000)))
    connection.execute("SET memory_limit = '12MB'; SET max_temp_directory_size = '1MB'")
    with pytest.raises(StoreError, match="not enough memory or disk"):
        update(store, many)
    connection.execute("SET memory_limit = '2GB'")
    assert cells(store.read(flag())) == BEFORE
