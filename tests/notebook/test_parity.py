"""`compat="xpyrment"` gives the numbers of xpyrment itself, run in its own environment.

Set EXD_XPYRMENT_PYTHON to a Python that has xpyrment installed.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exd_dagster.notebook import LiveMonitor
from tests.notebook.frames import random_case

PYTHON = os.environ.get("EXD_XPYRMENT_PYTHON")
FRAMES = 50

THEIRS = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from frames import random_case
from xpyrment.run.monitor import LiveMonitor
for seed in range({FRAMES}):
    case = random_case(seed)
    monitor = LiveMonitor(case["df"], "ts")
    result = monitor.run_telemetry_checks(case["ratios"], freq=case["freq"], window=case["window"])
    both = (monitor.get_binned_traffic, monitor.get_cumulative_traffic)
    tables = [table(freq=case["freq"]) for table in both]
    result["tables"] = [[list(map(str, t.index)), list(t.columns), t.to_numpy().tolist()] for t in tables]
    print(json.dumps(result, default=lambda value: value.tolist()))
"""


@pytest.mark.skipif(not PYTHON, reason="EXD_XPYRMENT_PYTHON names no Python with xpyrment")
def test_fifty_random_frames_give_xpyrments_numbers():
    done = subprocess.run([str(PYTHON), "-c", THEIRS], capture_output=True, text=True, check=True)
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(theirs) == FRAMES
    for seed, expected in enumerate(theirs):
        case = random_case(seed)
        monitor = LiveMonitor(case["df"], "ts", compat="xpyrment")
        result = monitor.run_telemetry_checks(case["ratios"], freq=case["freq"], window=case["window"])
        tables = [
            table(freq=case["freq"]) for table in (monitor.get_binned_traffic, monitor.get_cumulative_traffic)
        ]
        ours = result | {"tables": [[list(map(str, t.index)), list(t.columns), t.to_numpy()] for t in tables]}
        assert_same(ours, expected, f"frame {seed}")


def assert_same(ours, theirs, where: str) -> None:
    """Every key of theirs is ours too and equal, but for free text."""
    if isinstance(theirs, dict):
        for key in theirs:
            if key != "message":
                assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], list):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif np.asarray(theirs).dtype.kind == "f":
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=where)
    elif isinstance(theirs, list):
        assert list(ours) == theirs, where
    else:
        assert ours == theirs, where
