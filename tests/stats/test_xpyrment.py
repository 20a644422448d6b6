"""Number for number what xpyrment's monitor answers, where that Python is named by EXD_XPYRMENT_PYTHON."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exd_dagster.stats import sprt_by_unit, traffic_drop_test

PYTHON = os.environ.get("EXD_XPYRMENT_PYTHON")
STREAMS = 200

pytestmark = pytest.mark.skipif(not PYTHON, reason="EXD_XPYRMENT_PYTHON names no Python with xpyrment")


@pytest.fixture(scope="module")
def streams():
    script = Path(__file__).with_name("xpyrment_answers.py")
    done = subprocess.run([PYTHON, str(script), str(STREAMS)], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def test_the_plain_traffic_rule_gives_the_same_results(streams):
    for stream in streams:
        found = traffic_drop_test(stream["daily"], method="zscore")
        latest, mean, _, z = stream["numbers"]
        assert found.failed == stream["anomaly"]
        assert found.latest_volume == latest
        assert (found.expected_volume, found.z_score) == pytest.approx((mean, z), rel=1e-9, abs=1e-12)


def test_the_sprt_gives_the_same_ratios_and_stopping_index(streams):
    for stream in streams:
        path = sprt_by_unit(stream["treated"])
        assert np.exp(path.log_likelihood_ratios) == pytest.approx(stream["ratios"], rel=1e-9)
        assert path.stopped_index == stream["stopped_index"]
