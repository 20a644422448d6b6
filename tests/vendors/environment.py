"""The environment of the SDKs, and what one of them left after an evaluation."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

FOLDER = Path(__file__).parent
PYTHON = FOLDER.parents[1] / ".venv-vendors" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

SDKS = tuple(
    sorted(
        file.stem
        for file in (FOLDER / "drivers").glob("*.py")
        if file.stem not in ("__init__", "collector", "run")
    )
)
"""Every SDK that has a driver."""

SECOND = "~2"


@dataclass(frozen=True)
class Evaluated:
    """What a driver left: definitions given to the SDK, events written, arms returned by flag and user."""

    definitions: Path
    events: Path
    assigned: Mapping[str, list[str]]

    def recount(self, key: str) -> dict[str, int]:
        """Count the users of each arm, as the SDK returned it."""
        return dict(Counter(self.assigned[key]))


@cache
def evaluated(
    sdk: str, users: int = 50_000, flags: int = 1, fault: str = "none", *, silent: bool = False
) -> Evaluated:
    """Run a driver in the environment of the SDKs; each evaluation once per session."""
    out = Path(mkdtemp(prefix=f"exd-{sdk}-"))
    arguments = [sdk, str(out), "--users", str(users), "--flags", str(flags), "--fault", fault]
    arguments += ["--silent"] if silent else []
    command = [str(PYTHON), "-m", "drivers.run", *arguments]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assigned = json.loads((out / "assigned.json").read_text())
    return Evaluated(out / "definitions.json", out / "events.ndjson", assigned)
