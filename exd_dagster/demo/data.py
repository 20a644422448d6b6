"""Seeded evaluation records for the demo: three healthy flags, and four that broke in ways seen in practice.

One shop, seven flags, 21 days. Traffic has a daily and a weekly rhythm with 5 % noise; every visit is made by
a unit drawn from the flag's audience, so units return and first exposures decay as in a real log. The same
seed gives the same records.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
from numpy.typing import NDArray

from exd_dagster.config import FlagAudit

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
END = datetime(2026, 3, 22, tzinfo=timezone.utc)
AFTERGLOW = timedelta(minutes=65)
"""Records go on this long past END, so that with 1 h of lateness every hour before END is closed."""

RECOMMENDATIONS_BROKE = datetime(2026, 3, 12, 14, tzinfo=timezone.utc)
PAYMENT_RETRY_DROPPED = END - timedelta(hours=6)
ADDRESS_LOOKUP_BROKE = datetime(2026, 3, 15, 9, tzinfo=timezone.utc)

SEED = 20260334

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (files written, files in all)."""

_Array: TypeAlias = NDArray[Any]
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class DemoData:
    """What was written.

    Attributes:
        folder: where the Parquet files lie, one per UTC day, named by it.
        files: the files, in order of day.
        records: number of evaluation records in all of them.
    """

    folder: Path
    files: tuple[Path, ...]
    records: int

    @property
    def glob(self) -> str:
        """The pattern that matches every file."""
        return str(self.folder / "*.parquet")


@dataclass(frozen=True, slots=True)
class _Traffic:
    """How one flag is used and what goes wrong with it.

    Attributes:
        audit: the flag as its team declared it.
        visits: mean visits per hour.
        audience: number of units who may come.
        heavy_use: 1 when all units come alike; 2 when a few come on every day (density ~ rank ** -1/2).
        evaluations: mean evaluations of one visit.
        cached_split: shares a stale cache serves to the units behind it, None without such a cache.
        lost_from: from here on, units of every arm but the first fall back to the first.
        dropped_from: from here on, `dropped_to` of the visits are left.
        unsent_from: from here on, half of the units of every arm but the first send no record from Safari.
    """

    audit: FlagAudit
    visits: float
    audience: int
    heavy_use: float = 1.0
    evaluations: float = 1.5
    cached_split: tuple[float, ...] | None = None
    lost_from: datetime | None = None
    dropped_from: datetime | None = None
    dropped_to: float = 0.2
    unsent_from: datetime | None = None


def _flag(key: str, owner: str, *dimensions: str, **split: float) -> FlagAudit:
    return FlagAudit(
        key=key,
        namespace="shop",
        environment="production",
        split=split,
        start=START,
        end=END,
        owners=(f"team:{owner}",),
        dimensions=dimensions,
    )


_TRAFFIC = (
    _Traffic(
        _flag("new-checkout-flow", "checkout", control=0.5, treatment=0.5), visits=350, audience=140_000
    ),
    _Traffic(
        _flag("search-ranking", "search", control=0.34, bm25=0.33, semantic=0.33),
        visits=700,
        audience=200_000,
        heavy_use=2.0,
        evaluations=2.0,
    ),
    _Traffic(
        _flag("homepage-banner", "growth", control=0.5, treatment=0.5),
        visits=330,
        audience=150_000,
        cached_split=(0.6, 0.4),
    ),
    _Traffic(
        _flag("recommendations", "discovery", control=0.5, treatment=0.5),
        visits=330,
        audience=150_000,
        lost_from=RECOMMENDATIONS_BROKE,
    ),
    _Traffic(
        _flag("payment-retry", "payments", control=0.5, treatment=0.5),
        visits=380,
        audience=150_000,
        dropped_from=PAYMENT_RETRY_DROPPED,
    ),
    _Traffic(_flag("dark-mode", "design", off=0.95, on=0.05), visits=350, audience=160_000),
    _Traffic(
        _flag("address-lookup", "delivery", "browser", control=0.5, treatment=0.5),
        visits=270,
        audience=110_000,
        evaluations=1.2,
        unsent_from=ADDRESS_LOOKUP_BROKE,
    ),
)

FLAGS: tuple[FlagAudit, ...] = tuple(traffic.audit for traffic in _TRAFFIC)
"""The seven flags as declared, in the order they are reported."""

_SDKS = (("exd-rust", "0.5.0", 0.30), ("exd-typescript", "0.5.0", 0.50), ("exd-typescript", "0.4.9", 0.20))
_CACHED_SDK = 2
"""Units on the oldest SDK sit behind the edge cache; `cached_split` is what it serves them."""

_CONTEXTS = (
    ('{"country":"US","device":"desktop","browser":"Chrome"}', 0.14),
    ('{"country":"US","device":"desktop","browser":"Firefox"}', 0.08),
    ('{"country":"US","device":"mobile","browser":"Chrome"}', 0.24),
    ('{"country":"US","device":"mobile","browser":"Safari"}', 0.04),
    ('{"country":"DE","device":"desktop","browser":"Edge"}', 0.14),
    ('{"country":"DE","device":"mobile","browser":"Chrome"}', 0.16),
    ('{"country":"JP","device":"mobile","browser":"Chrome"}', 0.16),
    ('{"country":"JP","device":"mobile","browser":"Safari"}', 0.04),
)
_SAFARI = [i for i, (text, _) in enumerate(_CONTEXTS) if '"Safari"' in text]
_REASONS = ("matched_rule", "fallthrough")
_LOST = 1
"""Index of the reason under which a lost unit is served the first variant."""

_RELEASES = tuple(START + timedelta(days=days) for days in (3, 10, 16))
_FIRST_MANIFEST = 41


def write_records(folder: Path, *, seed: int = SEED, progress: Progress | None = None) -> DemoData:
    """Write about two million evaluation records as Parquet with the columns of exd's `flag_evaluations`.

    Args:
        folder: made when absent; files of the same name are replaced.
        seed: the same seed gives the same records.
        progress: called after each file.

    Returns:
        The files, one per UTC day from START on, the last of which has the 65 minutes after END.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = _records(seed)
    days = list(_by_day(records))
    with duckdb.connect() as connection:
        _create_names(connection)
        files = []
        for day, part in days:
            files.append(folder / f"{day:%Y-%m-%d}.parquet")
            connection.register("part", part)
            connection.execute(_COPY, {"file": str(files[-1])})
            connection.unregister("part")
            if progress:
                progress(len(files), len(days))
    return DemoData(folder, tuple(files), len(records["timestamp_ms"]))


def _records(seed: int) -> dict[str, _Array]:
    """Return every record of every flag as columns of numbers, in order of time."""
    parts = [_evaluations(flag, traffic, seed) for flag, traffic in enumerate(_TRAFFIC)]
    records = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(records["timestamp_ms"], kind="stable")
    records = {name: column[order] for name, column in records.items()}
    rng = np.random.default_rng([seed, len(_TRAFFIC)])
    count = len(order)
    records["random"] = rng.integers(0, 2**62, count)
    records["landing_ms"] = rng.exponential(20_000, count).astype(np.int64) + 1_000
    return records


def _evaluations(flag: int, traffic: _Traffic, seed: int) -> dict[str, _Array]:
    """Return the evaluations of one flag: visits, each by one unit, each of one or more evaluations."""
    rng = np.random.default_rng([seed, flag])
    visits = _visit_times(traffic, rng)
    rank = rng.random(len(visits)) ** traffic.heavy_use
    unit = (rank * traffic.audience).astype(np.int64)
    repeats = rng.geometric(1 / traffic.evaluations, len(visits))
    timestamps = np.repeat(visits, repeats) + _pauses(repeats, rng)
    units = np.repeat(unit, repeats)
    kept = timestamps < _ms(END + AFTERGLOW)
    timestamps, units = timestamps[kept], units[kept]
    sdk = _choose(units, seed, "sdk", [share for *_, share in _SDKS])
    variant, reason = _served(traffic, units, sdk, timestamps, seed)
    context = _choose(units, seed, "context", [share for _, share in _CONTEXTS])
    columns = {
        "timestamp_ms": timestamps,
        "unit": units,
        "flag": np.full(len(units), flag),
        "variant": variant,
        "reason": reason,
        "sdk": sdk,
        "context": context,
    }
    if traffic.unsent_from is None:
        return columns
    unsent = (timestamps >= _ms(traffic.unsent_from)) & (variant > 0) & np.isin(context, _SAFARI)
    unsent &= _uniform(units, seed, "unsent") < 0.5
    return {name: column[~unsent] for name, column in columns.items()}


def _visit_times(traffic: _Traffic, rng: np.random.Generator) -> _Array:
    """Return one instant (ms since 1970) per visit: hourly counts around the rhythm, uniform in the hour."""
    hours = np.arange(_ms(START), _ms(END + AFTERGLOW), _HOUR_MS)
    expected = traffic.visits * _rhythm(hours) * np.exp(rng.normal(0, 0.05, len(hours)))
    if traffic.dropped_from:
        expected[hours >= _ms(traffic.dropped_from)] *= traffic.dropped_to
    counts = rng.poisson(expected)
    visits: _Array = np.repeat(hours, counts) + rng.integers(0, _HOUR_MS, counts.sum())
    return visits


def _rhythm(hours: _Array) -> _Array:
    """Return the usual traffic of each hour relative to the mean: a peak at 16:00 UTC, quieter weekends."""
    of_day = hours % _DAY_MS / _HOUR_MS
    weekday = (hours // _DAY_MS + 3) % 7  # 1970-01-01 was a Thursday
    rhythm: _Array = (1 + 0.6 * np.cos((of_day - 16) * np.pi / 12)) * np.where(weekday >= 5, 0.75, 1.1)
    return rhythm


def _pauses(repeats: _Array, rng: np.random.Generator) -> _Array:
    """Return the milliseconds from the start of its visit to each evaluation; 0 for the first of a visit."""
    total = int(repeats.sum())
    pauses = rng.exponential(40_000, total)
    first = np.cumsum(repeats) - repeats
    pauses[first] = 0
    elapsed = np.cumsum(pauses)
    since_first: _Array = (elapsed - np.repeat(elapsed[first], repeats)).astype(np.int64)
    return since_first


def _served(
    traffic: _Traffic, units: _Array, sdk: _Array, timestamps: _Array, seed: int
) -> tuple[_Array, _Array]:
    """Return (variant, reason) of each evaluation: what the SDK returned, planted faults included."""
    split = list((traffic.audit.split or {}).values())
    variant = _choose(units, seed, traffic.audit.key, split)
    if traffic.cached_split:
        cached = _choose(units, seed, traffic.audit.key, traffic.cached_split)
        variant = np.where(sdk == _CACHED_SDK, cached, variant)
    lost = np.zeros(len(units), bool)
    if traffic.lost_from:
        lost = (variant > 0) & (timestamps >= _ms(traffic.lost_from))
    return np.where(lost, 0, variant), np.where(lost, _LOST, 0)


def _choose(units: _Array, seed: int, salt: str, shares: Sequence[float]) -> _Array:
    """Return the index each unit is assigned to: always the same for one unit and salt."""
    bounds = np.cumsum(shares)[:-1]
    return np.searchsorted(bounds, _uniform(units, seed, salt), side="right")


def _uniform(units: _Array, seed: int, salt: str) -> _Array:
    """Hash each unit to [0, 1) with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    key = int.from_bytes(salt.encode().ljust(8, b"\0")[-8:], "little") ^ seed
    with np.errstate(over="ignore"):
        z = units.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform: _Array = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53
    return uniform


def _by_day(records: Mapping[str, _Array]) -> Iterator[tuple[datetime, dict[str, _Array]]]:
    """Cut the ordered records at each midnight UTC."""
    timestamps = records["timestamp_ms"]
    for day in range((END + AFTERGLOW - START).days + 1):
        midnight = START + timedelta(days=day)
        first, last = np.searchsorted(timestamps, [_ms(midnight), _ms(midnight + timedelta(days=1))])
        yield midnight, {name: column[first:last] for name, column in records.items()}


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _create_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the small tables that turn the numbers of a record into its words."""
    variants = [
        (flag, variant, name)
        for flag, audit in enumerate(FLAGS)
        for variant, name in enumerate(audit.variants)
    ]
    releases = [
        (_FIRST_MANIFEST, _ms(START)),
        *((_FIRST_MANIFEST + i, _ms(at)) for i, at in enumerate(_RELEASES, 1)),
    ]
    tables: dict[str, list[tuple[Any, ...]]] = {
        "flags(flag INT, flag_key VARCHAR)": [(flag, audit.key) for flag, audit in enumerate(FLAGS)],
        "variants(flag INT, variant INT, variant_key VARCHAR)": variants,
        "sdks(sdk INT, sdk_name VARCHAR, sdk_version VARCHAR)": [
            (i, *sdk[:2]) for i, sdk in enumerate(_SDKS)
        ],
        "contexts(context INT, context_attributes VARCHAR)": [
            (i, text) for i, (text, _) in enumerate(_CONTEXTS)
        ],
        "reasons(reason INT, evaluation_reason VARCHAR)": list(enumerate(_REASONS)),
        "manifests(manifest_version BIGINT, timestamp_ms BIGINT)": releases,
    }
    for table, rows in tables.items():
        connection.execute(f"CREATE TABLE {table}")
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table.split('(')[0]} VALUES ({marks})", rows)  # noqa: S608 - ours


_COPY = """
COPY (
    SELECT
        translate(
            to_base(timestamp_ms, 32, 10) || to_base(random, 32, 16), 'IJKLMNOPQRSTUV', 'JKMNPQRSTVWXYZ'
        ) AS evaluation_id,
        make_timestamptz(timestamp_ms * 1000) AS "timestamp",
        make_timestamptz((timestamp_ms + landing_ms) * 1000) AS ingested_at,
        CAST(make_timestamp(timestamp_ms * 1000) AS DATE) AS _partition_date,
        1 AS schema_version,
        'shop' AS namespace,
        'production' AS environment,
        flag_key,
        variant_key,
        '{"type":"string","value":"' || variant_key || '"}' AS variant_value,
        evaluation_reason,
        CASE evaluation_reason WHEN 'matched_rule' THEN 'rule:0' END AS matched_rule_id,
        manifest_version,
        CAST(NULL AS VARCHAR) AS manifest_etag,
        sha256('u_' || unit) AS unit_id_hash,
        'user' AS unit_id_type,
        '{}' AS secondary_unit_ids,
        context_attributes,
        sdk_name,
        sdk_version,
        CAST(NULL AS VARCHAR) AS request_id,
        CAST(NULL AS VARCHAR) AS trace_id,
        CAST(NULL AS VARCHAR) AS span_id
    FROM part
    JOIN flags USING (flag)
    JOIN variants USING (flag, variant)
    JOIN sdks USING (sdk)
    JOIN contexts USING (context)
    JOIN reasons USING (reason)
    ASOF JOIN manifests USING (timestamp_ms)
    ORDER BY evaluation_id
) TO $file (FORMAT parquet, COMPRESSION zstd)
"""
