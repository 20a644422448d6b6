"""Workers that share a lake: each commits or waits; one that is killed leaves it as before or as after."""

from contextlib import closing

import pytest

from exd_dagster.audit.trust_table import read_trust
from exd_dagster.bins.places import lake as lakes
from exd_dagster.bins.places.lake import LakePlace, tidy
from exd_dagster.bins.store.store import BinStore
from tests.bins.conftest import NOW, cells, flag, log, update
from tests.faults.test_bins_killed import AFTER, BEFORE, FIRST, SECOND
from tests.lake.conftest import start

pytestmark = pytest.mark.lake

OPENED = """
    import os, re, signal, sys, threading, time
    from exd_dagster.bins.places.lake import LakePlace
    from exd_dagster.bins.store.store import BinStore
    from tests.bins.conftest import flag, log, update
    from tests.faults.test_bins_killed import FIRST, SECOND
    from tests.lake.test_sharing import entry
    from exd_dagster.audit.trust_table import write_trust

    connection = LakePlace(*sys.argv[1:3]).connect()
    print("open", flush=True)
    sys.stdin.readline()
"""
UPDATES = OPENED + "    update(BinStore(connection), log(*SECOND, flag_key=sys.argv[3]), flag(sys.argv[3]))\n"
TRUSTS = OPENED + "    write_trust(connection, entry(sys.argv[3]))\n"
KILLED = """
    import os, re, signal, sys, threading, time
    from exd_dagster.bins.places.lake import LakePlace
    from exd_dagster.bins.store.store import BinStore
    from tests.bins.conftest import log, update
    from tests.faults.test_bins_killed import SECOND

    class Killed:
        def __init__(self, connection, at):
            self.connection, self.left = connection, at
        def __getattr__(self, name):
            return getattr(self.connection, name)
        def execute(self, query, *values):
            if re.match(r"(INSERT INTO|DELETE FROM|UPDATE) exd_|COMMIT", query):
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                if query == "COMMIT" and sys.argv[4:]:
                    threading.Timer(float(sys.argv[4]), os.kill, (os.getpid(), signal.SIGKILL)).start()
                self.left -= 1
            return self.connection.execute(query, *values)

    store = BinStore(LakePlace(*sys.argv[1:3]).connect())
    store._connection = killed = Killed(store._connection, int(sys.argv[3]))
    update(store, log(*SECOND))
    print("writes", int(sys.argv[3]) - killed.left, flush=True)
    os._exit(0)
"""


def entry(key):
    from exd_dagster.audit.trust_row import TrustRow
    from exd_dagster.audit.trust_table import TrustEntry
    from exd_dagster.config import FlagId
    from tests.bins.conftest import START

    row = TrustRow(
        flag=FlagId("", "", key), iteration_start=START, trusted=True, sentence="Fine.", mode="block",
        failing=(), usable_without=(), since=START, usable_until=NOW, audited_through=NOW, contained=False,
        waived_by=None, waived_until=None, discovery=False, owners=(), picture="",
    )  # fmt: skip
    return TrustEntry(row, key)


def at_once(lake: LakePlace, script: str, *keys: str) -> None:
    """Run a script for each flag, in processes that begin together."""
    workers = [start(script, lake.catalog, lake.data_path, key) for key in keys]
    for worker in workers:
        assert worker.stdout.readline() == "open\n", worker.stderr.read()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, said = worker.communicate()
        assert worker.returncode == 0, said


def stored(lake: LakePlace, key: str = "checkout"):
    with closing(lake.connect()) as connection:
        return cells(BinStore(connection).read(flag(key)))


def test_runs_of_different_flags_at_once_all_commit(lake):
    at_once(lake, UPDATES, "one", "other", "third")
    assert [stored(lake, key) for key in ("one", "other", "third")] == [AFTER] * 3


def test_runs_of_the_same_flag_at_once_take_turns(lake):
    at_once(lake, UPDATES, "checkout", "checkout")
    assert stored(lake) == AFTER


def test_two_first_answers_for_one_flag_make_one_row(lake):
    at_once(lake, TRUSTS, "checkout", "checkout", "other")
    with closing(lake.connect()) as connection:
        assert [each.row.flag.key for each in read_trust(connection)] == ["checkout", "other"]


def test_killed_at_any_write_the_lake_is_as_before_and_a_bare_worker_goes_on(make_lake, tmp_path):
    whole = make_lake("sqlite")
    with closing(whole.connect()) as connection:
        update(BinStore(connection), log(*FIRST))
    from tests.lake.conftest import copied

    writes = int(run_killed(copied(whole, tmp_path.with_name("counted")), 10_000).split()[-1])
    assert writes > 5
    for at in range(0, writes, writes // 6):
        lake = copied(whole, tmp_path.with_name(f"killed_{at}"))
        run_killed(lake, at)
        assert stored(lake) == BEFORE
        with closing(lake.connect()) as connection:
            update(BinStore(connection), log(*SECOND))
        assert stored(lake) == AFTER


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_killed_in_its_commit_the_lake_is_as_before_or_as_after(make_lake, delay):
    lake = make_lake("postgres")
    with closing(lake.connect()) as connection:
        update(BinStore(connection), log(*FIRST))
    run_killed(lake, 10_000, delay)
    assert stored(lake) in (BEFORE, AFTER)
    with closing(lake.connect()) as connection:
        update(BinStore(connection), log(*SECOND))
    assert stored(lake) == AFTER


def run_killed(lake: LakePlace, *values: object) -> str:
    worker = start(KILLED, lake.catalog, lake.data_path, *values)
    out, said = worker.communicate()
    assert worker.returncode in (0, -9), said
    return out


def test_snapshots_expire_and_small_files_are_merged(make_lake, monkeypatch):
    monkeypatch.setattr(lakes, "INLINED", 0)
    made = make_lake("sqlite")
    with closing(made.connect()) as connection:
        store = BinStore(connection)
        for hours in range(1, 6):
            update(store, log(*SECOND), hours=(0, 8 * hours))
        snapshots = "SELECT count(*) FROM ducklake_snapshots('exd')"
        (before,) = connection.execute(snapshots).fetchone()
        assert not tidy(connection, "exd")
        monkeypatch.setattr(lakes, "MOST_FILES", 0)
        connection.execute("CALL ducklake_set_option('exd', 'expire_older_than', '0 seconds')")
        assert tidy(connection, "exd")
        (after,) = connection.execute(snapshots).fetchone()
        assert after < before
        assert cells(store.read(flag())) == AFTER
