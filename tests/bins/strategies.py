"""Random logs, rollouts and windows for the tests of exactness."""

from datetime import datetime, timedelta, timezone

import pandas as pd
from hypothesis import strategies as st

from exd_dagster.config import FlagAudit, Phase
from tests.bins.oracle import HOUR, Record, hour_of

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOURS = 8
END = START + HOURS * HOUR
NOW = START + 20 * HOUR
SPLIT = {"b": 0.5, "d": 0.5}
ODD = "ü 'q\" %Y \N{ROCKET}"
"""A flag's name."""

instants = st.builds(
    lambda ms, micro: START + timedelta(milliseconds=ms, microseconds=micro),
    st.one_of(
        st.integers(-HOURS * 900_000, HOURS * 3_600_000 - 1),
        st.sampled_from([h * 1_800_000 + d for h in range(2 * HOURS) for d in (-1, 0, 1)]),
    ),
    st.sampled_from([0, 999]),
)
arrivals = st.one_of(
    st.sampled_from([timedelta(0), timedelta(minutes=45), timedelta(hours=3)]).map(
        lambda delay: lambda at: at + delay
    ),
    st.sampled_from([1, 1.5, 2]).map(lambda hours: lambda at: hour_of(at) + hours * HOUR),
    st.just(lambda at: None),
)
records = st.builds(
    lambda arrival, **fields: Record(**fields, ingested_at=arrival(fields["timestamp"])),
    arrival=arrivals,
    timestamp=instants,
    flag_key=st.sampled_from(["f", "f", "f", "g", ODD, "other"]),
    variant_key=st.sampled_from(["b", "d", "b", "d", "a", "c", "z", "Ä", "", None]),
    unit_id_hash=st.sampled_from(["1", "2", "3", "4", "5", "6", "", None]),
    evaluation_id=st.sampled_from([None, *"abcdefgh"]),
    evaluation_reason=st.sampled_from([None, "fallthrough", "matched_rule", "off"]),
    manifest_version=st.sampled_from([None, 1, 2]),
    country=st.sampled_from([None, "de", "us"]),
)
logs = st.lists(records, max_size=30)
rollouts = st.lists(
    st.builds(
        lambda half, *rest: (START + half * HOUR / 2, *rest),
        st.integers(1, 2 * HOURS - 2),
        st.booleans(),
        st.sampled_from([timedelta(0), HOUR / 4, HOUR, 3 * HOUR]),
    ),
    max_size=2,
    unique_by=lambda phase: phase[0],
).map(lambda found: tuple(Phase(start=s, split=SPLIT, rerandomized=r, uptake=u) for s, r, u in sorted(found)))
windows = st.tuples(st.integers(0, HOURS - 1), st.integers(1, HOURS)).map(
    lambda w: (w[0], max(w[1], w[0] + 1))
)


def audits(rollout: tuple[Phase, ...]) -> list[FlagAudit]:
    return [
        FlagAudit(
            key="f", split=SPLIT, start=START, phases=rollout, ignore_variants=("z",), dimensions=("country",)
        ),
        FlagAudit(
            key="g",
            split=SPLIT,
            start=START + HOUR / 2,
            end=START + 5 * HOUR + HOUR / 3,
            exclude={"country": ["us"]},
        ),
        FlagAudit(key=ODD, start=START, include={"country": ["de", "us"]}, exclude_reasons=("matched_rule",)),
    ]


def frame(log: list[Record]) -> pd.DataFrame:
    columns = {name: [getattr(r, name) for r in log] for name in Record.__dataclass_fields__}
    table = pd.DataFrame(columns)
    for name in ("timestamp", "ingested_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    kept = ("timestamp", "ingested_at", "manifest_version")
    return table.astype({name: object for name in columns if name not in kept})
