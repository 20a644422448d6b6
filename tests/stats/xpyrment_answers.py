"""Run by another Python: xpyrment's answers over random streams, as JSON on standard output.

python xpyrment_answers.py <streams>
"""

import json
import sys

import numpy as np
import pandas as pd
from xpyrment.run.monitor import LiveMonitor


def stream(seed: int) -> pd.DataFrame:
    """First exposures only: each unit once, at its own second, in one of two variants."""
    random = np.random.default_rng(seed)
    n = int(random.integers(50, 1500))
    share = float(random.choice([0.5, 0.52, 0.55, 0.45, 0.5]))
    seconds = np.sort(random.choice(12 * 86_400, n, replace=False))
    return pd.DataFrame(
        {
            "unit_id": np.arange(n),
            "time": pd.Timestamp("2026-03-01") + pd.to_timedelta(seconds, unit="s"),
            "variant": np.where(random.random(n) < share, "treatment", "control"),
        }
    )


def answers(seed: int) -> dict:
    frame = stream(seed)
    monitor = LiveMonitor(frame, "time")
    traffic = monitor.check_traffic_anomaly()
    sequential = monitor.check_sequential_srm()
    daily = monitor.get_binned_traffic(freq="D")
    return {
        "treated": (frame["variant"] == "treatment").astype(int).tolist(),
        "daily": daily.sum(axis=1).tolist(),
        "anomaly": bool(traffic["anomaly_detected"]),
        "numbers": [
            float(traffic[k]) for k in ("latest_volume", "historical_mean", "historical_std", "z_score")
        ],
        "ratios": np.asarray(sequential["running_likelihood_ratios"], dtype=float).tolist(),
        "stopped_index": int(sequential["stopped_index"]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps([answers(seed) for seed in range(int(sys.argv[1]))]))
