"""What a store in a lake costs, beside the same work on a DuckDB file in the same run.

    .venv-lake/bin/python -m benchmarks.bench_lake

The catalog is in SQLite, and in PostgreSQL where a server can be started here. It needs a DuckDB whose
extensions are packages, in an environment of its own that `make lake` makes; `make bench BIG=1` runs it.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from benchmarks import line
from benchmarks.bench_bins import CHECKOUT, HOUR, THREADS, timed
from benchmarks.bench_logs import END, NOW, START, write_log
from exd_dagster.bins.places import Place
from exd_dagster.bins.places.file import FilePlace
from exd_dagster.bins.places.lake import LakePlace
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.errors import StoreError

ROWS = 10_000_000
TARGET = 2.0
_SETTINGS = {"threads": THREADS}


def full_and_next(place: Place, log: str) -> dict[str, float]:
    """Return the seconds of a full build, and of the next hour by a worker that has just opened the store."""
    last = END - HOUR
    with closing(place.connect()) as connection:
        store = BinStore(connection)
        full, _ = timed(lambda: store.update(log, [CHECKOUT], START, last, now=NOW))
    with closing(place.connect()) as connection:
        store = BinStore(connection)
        once = Timing(lookback=timedelta(0))
        hour, _ = timed(lambda: store.update(log, [CHECKOUT], last, END, timing=once, now=NOW))
    return {"full build": full, "next hour": hour}


@contextmanager
def _postgres() -> Iterator[str]:
    from tests.servers.postgres import running

    with running() as server:
        yield server.create("lake")


def lakes(folder: str) -> Iterator[tuple[str, LakePlace]]:
    yield "SQLite", LakePlace(f"sqlite:{folder}/catalog.sqlite", f"{folder}/sqlite", config=_SETTINGS)
    with suppress(pytest.skip.Exception), _postgres() as catalog:
        yield "PostgreSQL", LakePlace(catalog, f"{folder}/postgres", config=_SETTINGS)


def run(rows: int = ROWS) -> None:
    log = write_log(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = full_and_next(FilePlace(str(Path(folder) / "bins.duckdb"), _SETTINGS), log)
        for name, lake in lakes(folder):
            try:
                found = full_and_next(lake, log)
            except StoreError as error:
                line.skip(f"lake in {name}", str(error))
                continue
            for work, seconds in found.items():
                line.tell(
                    f"{work}, {rows:.0e} rows, lake in {name}, vs file",
                    seconds,
                    peer=file[work],
                    target=TARGET,
                )


def main() -> None:
    """Run in the environment of `make lake`, where there is one, and tell what it told."""
    python = Path(__file__).parents[1] / ".venv-lake" / "bin" / "python"
    if not python.exists():
        line.skip("lake", "it needs .venv-lake; run make lake, or make bench BIG=1, which makes it")
        return
    done = subprocess.run(
        [python, "-m", "benchmarks.bench_lake"],
        cwd=python.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    line.repeat(done.stdout)


if __name__ == "__main__":
    print(f'{{"duckdb": "{duckdb.__version__}"}}')
    run()
