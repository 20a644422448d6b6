"""What the package adds to importing Dagster, and what using every public name adds.

python -m benchmarks.bench_import
"""

import json
import subprocess
import sys

from benchmarks.line import tell

LIMIT = 0.3
CHILD = """
import json, sys
from time import process_time
marks = [process_time()]
import dagster
marks.append(process_time())
import exd_dagster
marks.append(process_time())
public = [getattr(exd_dagster, name) for name in exd_dagster.__all__]
marks.append(process_time())
heavy = [name for name in ("scipy", "pandas", "slack_sdk", "ibis") if name in sys.modules]
print(json.dumps([*(later - mark for mark, later in zip(marks, marks[1:])), heavy]))
"""


def main() -> None:
    runs = []
    for _ in range(5):  # each in a process of its own
        done = subprocess.run((sys.executable, "-c", CHILD), check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    dagster, package, names, heavy = zip(*runs, strict=True)
    tell("import exd_dagster after dagster", min(package), "cpu s", limit=LIMIT)
    tell("every public name, over import dagster", min(names), "cpu s", peer=min(dagster), heavy=heavy[0])


if __name__ == "__main__":
    main()
