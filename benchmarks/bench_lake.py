"""What a store in a lake costs, beside the same work on a DuckDB file in the same run.

    .venv-lake/bin/python -m benchmarks.bench_lake

The catalog is in SQLite, and in PostgreSQL where a server can be started here. It needs a DuckDB whose
extensions are packages, in an environment of its own that `make lake` makes; `make bench BIG=1` runs it.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import duckdb
import pytest

from benchmarks import line
from benchmarks.bench_bins import CHECKOUT, HOUR, THREADS
from benchmarks.bench_logs import END, NOW, START, write_log
from exd_dagster.bins.places import Place
from exd_dagster.bins.places.file import FilePlace
from exd_dagster.bins.places.lake import LakePlace
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.errors import StoreError

ROWS = 10_000_000
TARGET = 2.0
HOURS = 5
"""Hours that are added one by one."""
_SETTINGS = {"threads": THREADS}


def full_build(place: Place, log: str) -> tuple[float, float]:
    """Return the seconds by the clock and of this process that a build up to the last hours takes."""
    with closing(place.connect()) as connection:
        store = BinStore(connection)
        return _timed(lambda: store.update(log, [CHECKOUT], START, END - HOURS * HOUR, now=NOW))


def next_hour(place: Place, log: str, hour: datetime) -> tuple[float, float]:
    """Return the seconds of one more hour by a worker that has just opened the store."""
    with closing(place.connect()) as connection:
        store, once = BinStore(connection), Timing(lookback=timedelta(0))
        return _timed(lambda: store.update(log, [CHECKOUT], hour, hour + HOUR, timing=once, now=NOW))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    clock, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - clock, process_time() - cpu


@contextmanager
def _postgres() -> Iterator[str]:
    from tests.servers.postgres import running

    with running() as server:
        yield server.create("lake")


def lakes(folder: str, stack: ExitStack) -> Iterator[tuple[str, LakePlace]]:
    """Yield a lake for each kind of catalog that can be made here."""
    catalogs = {"SQLite": f"sqlite:{folder}/catalog.sqlite"}
    with suppress(pytest.skip.Exception):
        catalogs["PostgreSQL"] = stack.enter_context(_postgres())
    for name, catalog in catalogs.items():
        place = LakePlace(catalog, f"{folder}/{name}", config=_SETTINGS)
        try:
            place.connect().close()
        except StoreError as error:
            line.skip(f"lake in {name}", str(error))
            continue
        yield name, place


def run(rows: int = ROWS) -> None:
    """Build in each place, then add hour after hour in all of them in turn; tell the medians.

    A ratio is of seconds of this process, which others on the machine disturb less; PostgreSQL's own are in
    the clock alone.
    """
    log = write_log(rows)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places: dict[str, Place] = {"file": FilePlace(str(Path(folder) / "bins.duckdb"), _SETTINGS)}
        places |= lakes(folder, stack)
        spent = {
            name: {"full build": [full_build(place, log)], "next hour": []} for name, place in places.items()
        }
        for number in range(HOURS, 0, -1):
            for name, place in places.items():
                spent[name]["next hour"].append(next_hour(place, log, END - number * HOUR))
        for name, work in product(list(places)[1:], ("full build", "next hour")):
            (clock, cpu), (file_clock, file_cpu) = (
                map(median, zip(*spent[which][work], strict=True)) for which in (name, "file")
            )
            line.tell(
                f"{work}, {rows:.0e} rows, lake in {name}, vs file",
                cpu,
                "cpu s",
                peer=file_cpu,
                target=TARGET,
                clock=round(clock, 2),
                clock_ratio=round(clock / file_clock, 2),
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
