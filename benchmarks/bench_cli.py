"""What the command costs beside what it needs.

python -m benchmarks.bench_cli
"""

import subprocess
import sys
from time import perf_counter

from benchmarks.bench_logs import END, START, write_log
from benchmarks.line import tell

COMMAND = (sys.executable, "-c", "from exd_dagster.cli import main; main()")
HELP_LIMIT = 0.3
BINS = """
import sys, duckdb
from benchmarks.bench_logs import END, NOW, START
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import AT_ONCE, FlagAudit
flag = FlagAudit(key="checkout", start=START, end=END)
BinStore(duckdb.connect()).update(sys.argv[1], [flag], START, END, timing=AT_ONCE, now=NOW)
"""


def best(command: tuple[str, ...], repeats: int) -> float:
    """Return the seconds of one run of a command, best of `repeats`."""
    seconds = []
    for _ in range(repeats):
        begin = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(perf_counter() - begin)
    return min(seconds)


def main() -> None:
    help_text, click = (*COMMAND, "telemetry", "srm", "--help"), (sys.executable, "-c", "import click")
    tell("srm --help, over importing click", best(help_text, 7) - best(click, 7), limit=HELP_LIMIT)
    log = write_log(10_000_000)
    window = ("--source", log, "--from", START.isoformat(), "--to", END.isoformat())
    srm = ("telemetry", "srm", "--flag", "checkout", "--expected", "control=.5,treatment=.5", *window)
    needed = best((sys.executable, "-c", BINS, log), 2)
    tell("telemetry srm, 1e7 rows, over the bins it needs", best((*COMMAND, *srm), 2), peer=needed, target=2)


if __name__ == "__main__":
    main()
