"""Exposure logs for the monitor's tests; imports nothing of the package: another Python uses it too."""

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-01-05")


def log(
    units: int = 4000,
    days: float = 14,
    share: float = 0.5,
    variants: tuple[str, str] = ("control", "treatment"),
    returns: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Units arriving evenly over `days`, with on average `returns` further exposures each."""
    rng = np.random.default_rng(seed)
    first = np.sort(rng.uniform(0, days * 86_400, units))
    arm = np.where(rng.random(units) < share, variants[1], variants[0])
    again = rng.poisson(returns, units)
    unit = np.concatenate([np.arange(units), np.repeat(np.arange(units), again)])
    later = rng.uniform(np.repeat(first, again), days * 86_400)
    seconds = np.concatenate([first, later])
    frame = pd.DataFrame(
        {"unit_id": unit, "variant": arm[unit], "ts": START + pd.to_timedelta(seconds, unit="s")}
    )
    return frame.sort_values("ts", kind="stable", ignore_index=True)


def random_case(seed: int) -> dict:
    """One random two-arm frame with the arguments of a run."""
    rng = np.random.default_rng(seed)
    share = float(rng.choice([0.5, 0.5, 0.3, 0.9]))
    served = share if rng.random() < 0.5 else min(share + float(rng.uniform(0.02, 0.08)), 0.97)
    frame = log(
        units=int(rng.integers(50, 3000)),
        days=float(rng.choice([0.6, 2.0, 9.0, 15.0])),
        share=served,
        variants=[("control", "treatment"), ("a_ctrl", "b"), ("off", "on"), ("z_control", "new")][
            rng.integers(4)
        ],
        returns=float(rng.choice([0.0, 1.0])),
        seed=seed + 1000,
    )
    ratios = [1 - share, share]
    return {
        "df": frame,
        "ratios": ratios,
        "freq": str(rng.choice(["D", "h"])),
        "window": int(rng.integers(2, 9)),
    }
