"""One awkward log for every engine: nulls, repeats, late rows, phases inside hours, filters."""

import random
from datetime import timedelta

import pandas as pd

from exd_dagster.config import Phase
from tests.bins.conftest import HOUR, SPLIT, START, flag

FLAGS = [
    flag(
        phases=(
            Phase(start=START + 5.5 * HOUR, split=SPLIT),
            Phase(start=START + 9 * HOUR, split=SPLIT, rerandomized=True),
        ),
        environment="production",
        ignore_variants=("holdout",),
    ),
    flag("search", start=START + HOUR / 3, end=START + 11 * HOUR, exclude={"country": ["us"], "score": [3]}),
    flag("menu", include={"country": ["de", "fr"]}, exclude_reasons=()),
]


def awkward_log(rows: int = 3000) -> pd.DataFrame:
    chance = random.Random(7)
    records = []
    for i in range(rows):
        at = START + timedelta(milliseconds=chance.randrange(-1_800_000, 14 * 3_600_000, 250))
        key = chance.choice(["checkout", "checkout", "search", "menu", "other"])
        records.append(
            {
                "evaluation_id": None if chance.random() < 0.1 else f"id{chance.randrange(rows)}",
                "timestamp": at,
                "ingested_at": at + chance.choice([timedelta(seconds=3), timedelta(hours=5)]),
                "flag_key": key,
                "variant_key": chance.choice(
                    ["control", "treatment"] * 6 + ["Zulu", "alpha", "holdout", "", None]
                ),
                "unit_id_hash": chance.choice([f"u{chance.randrange(200)}"] * 20 + ["", None]),
                "environment": chance.choice(["production", "staging"])
                if key == "checkout"
                else "production",
                "manifest_version": chance.choice([7, 8]),
                "evaluation_reason": chance.choice(["fallthrough"] * 8 + ["off", "error"]),
                "country": chance.choice(["de", "fr", "us", None]),
                "score": chance.choice([1, 2, 3]),
            }
        )
        if i % 9 == 0:
            records.append(dict(records[-1]))
    return pd.DataFrame(records)
