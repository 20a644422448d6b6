"""Whatever a log holds: its right counts, or an error of ours. No other library's error comes through."""

import gzip
import json
import warnings
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.errors import ExdError

START = datetime(2026, 1, 5, tzinfo=timezone.utc)
NOW = START + timedelta(days=2)
ROWS = 60
FUZZ = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TIMES = [START + timedelta(minutes=7 * i) for i in range(ROWS)]
UNITS = [f"unit-{i % 40}" for i in range(ROWS)]
VARIANTS = [("a", "b")[i % 40 % 2] for i in range(ROWS)]
COLUMNS = {"timestamp": TIMES, "flag_key": ["f"] * ROWS, "variant_key": VARIANTS, "unit_id_hash": UNITS}


def outcome(source, key="f", variants=("a", "b")):
    """Count a log; return units by variant and the report, or None where it is refused by us."""
    audit = FlagAudit(key=key, start=START, split={name: 1 / len(variants) for name in variants})
    store = BinStore(duckdb.connect())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            report = store.update(source, [audit], START, NOW, now=NOW)
            if report.flags[audit.id].error is not None:
                return None
            bins = store.read(audit)
        except ExdError:
            return None
    units = np.asarray(bins.new_units).sum(axis=0)
    return dict(zip(bins.variants, map(int, units), strict=True)), report


WHOLE = {"a": 20, "b": 20}

instants = st.sampled_from(
    [
        lambda: pd.Series(pd.to_datetime(TIMES, utc=True)),
        lambda: pd.Series(pd.to_datetime(TIMES, utc=True)).dt.tz_convert("Asia/Kolkata"),
        lambda: pd.Series(pd.to_datetime(TIMES, utc=True)).dt.tz_localize(None).astype("datetime64[s]"),
        lambda: pd.Series(pd.to_datetime(TIMES, utc=True)).astype("datetime64[ns, UTC]"),
        lambda: pd.Series([at.isoformat() for at in TIMES]),
        lambda: pd.Series([at.isoformat() for at in TIMES], dtype="category"),
        lambda: pd.Series([at if i % 2 else at.isoformat() for i, at in enumerate(TIMES)], dtype="object"),
        lambda: pd.Series([int(at.timestamp()) for at in TIMES]),
        lambda: pd.Series([at.timestamp() * 1e3 for at in TIMES]),
        lambda: pd.Series([Decimal(int(at.timestamp() * 1000)) for at in TIMES]),
        lambda: pd.Series(TIMES).astype("string"),
    ]
)
odd = st.sampled_from(
    [
        lambda: pd.Series(pd.period_range("2026-01-05", periods=ROWS, freq="min")),
        lambda: pd.Series(pd.arrays.IntervalArray.from_breaks(range(ROWS + 1))),
        lambda: pd.Series(pd.to_timedelta(range(ROWS), unit="min")),
        lambda: pd.Series([complex(i, 1) for i in range(ROWS)]),
        lambda: pd.Series([object() for _ in range(ROWS)]),
        lambda: pd.Series([{"id": i} for i in range(ROWS)]),
        lambda: pd.Series([[i] for i in range(ROWS)]),
        lambda: pd.Series([None] * ROWS),
        lambda: pd.Series([pd.NaT] * ROWS),
        lambda: pd.Series([np.nan, np.inf, -np.inf] * (ROWS // 3)),
        lambda: pd.Series([10**30] * ROWS),
        lambda: pd.Series([Decimal("Infinity"), Decimal("NaN")] * (ROWS // 2)),
        lambda: pd.Series(pd.arrays.SparseArray(range(ROWS))),
        lambda: pd.Series([b"\xff\xfe"] * ROWS),
        lambda: pd.Series([date(9999, 12, 31)] * ROWS),
        lambda: pd.Series([datetime(1, 1, 1, tzinfo=timezone.utc)] * ROWS, dtype="object"),
        lambda: pd.Series([True, None, 3, "x"] * (ROWS // 4)),
        lambda: pd.Series(["\0", "", " ", "\n"] * (ROWS // 4)),
        lambda: pd.Series(["\ud800"] * ROWS, dtype="object"),
    ]
)
libraries = st.sampled_from(["pandas", "polars", "pyarrow", "parquet"])


def written(frame, library, folder):
    """Give a frame to another library, None where that library itself refuses it."""
    try:
        if library == "pyarrow":
            return pa.Table.from_pandas(frame)
        if library == "polars":
            import polars

            return polars.from_pandas(frame)
        if library == "parquet":
            frame.to_parquet(folder / "log.parquet")
            return str(folder / "log.parquet")
    except Exception:  # noqa: BLE001 - what that library cannot hold is not a log
        return None
    return frame


@FUZZ
@given(instants, libraries)
def test_instants_of_any_type_are_counted(tmp_path, times, library):
    frame = pd.DataFrame({**COLUMNS, "timestamp": times()})
    source = written(frame, library, tmp_path)
    if source is not None:
        assert outcome(source)[0] == WHOLE


@FUZZ
@given(
    odd, st.sampled_from([*COLUMNS, "evaluation_id", "evaluation_reason", "ingested_at", "other"]), libraries
)
def test_a_column_of_any_type_is_read_or_refused_by_us(tmp_path, values, name, library):
    source = written(pd.DataFrame({**COLUMNS, name: values()}), library, tmp_path)
    found = None if source is None else outcome(source)
    if found is not None:
        units, report = found
        reported = report.quarantined or report.unreadable or name not in ("evaluation_reason", "other")
        assert units == WHOLE or reported


@FUZZ
@given(
    st.sampled_from(
        [
            lambda f: f[[]],
            lambda f: f.iloc[:0],
            lambda f: pd.concat([f, f[["variant_key"]]], axis=1),
            lambda f: f.rename(columns={"variant_key": 7}),
            lambda f: f.rename(columns={"variant_key": ""}),
            lambda f: f.rename(columns={"variant_key": None}),
            lambda f: f.set_axis(pd.MultiIndex.from_product([f.columns, ["x"]]), axis=1),
            lambda f: f.assign(VARIANT_KEY="z"),
            lambda f: f.set_index("timestamp"),
            lambda f: f.set_axis([0] * len(f), axis=0),
            lambda f: f.T,
        ]
    ),
    libraries,
)
def test_a_frame_of_any_shape_is_counted_or_refused_by_us(tmp_path, reshape, library):
    source = written(reshape(pd.DataFrame(COLUMNS)), library, tmp_path)
    found = None if source is None else outcome(source)
    assert found is None or found[0] == WHOLE or not sum(found[0].values())


def log_bytes(kind):
    """Return a log as bytes of a file of this ending."""
    frame = pd.DataFrame(COLUMNS)
    frame["timestamp"] = [at.isoformat() for at in TIMES]
    text = {
        "csv": frame.to_csv(index=False),
        "tsv": frame.to_csv(index=False, sep="\t"),
        "ndjson": frame.to_json(orient="records", lines=True),
    }
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(frame), sink, row_group_size=20)
        return sink.getvalue().to_pybytes()
    plain = text[kind.removesuffix(".gz")].encode()
    return gzip.compress(plain, mtime=0) if kind.endswith(".gz") else plain


kinds = st.sampled_from(["parquet", "csv", "tsv", "ndjson", "csv.gz", "ndjson.gz"])
places = st.floats(0, 1, allow_nan=False)
damages = st.one_of(
    st.tuples(st.just("cut"), places, st.just(b"")),
    st.tuples(st.just("overwrite"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(
        st.just("insert"),
        places,
        st.sampled_from([b"\n", b'"', b"\0", b"\xef\xbb\xbf", b"\r\n\r\n", b"[", b"}"]),
    ),
)


@settings(FUZZ, max_examples=60)
@given(kinds, st.lists(damages, min_size=1, max_size=3))
def test_a_damaged_file_is_read_as_far_as_it_can_be_or_refused_by_us(tmp_path, kind, faults):
    content = log_bytes(kind)
    for fault, place, extra in faults:
        if kind == "parquet" and fault != "cut":  # DuckDB itself can end the process on such a file
            continue
        at = int(place * len(content))
        after = {"cut": b"", "overwrite": content[at + len(extra) :], "insert": content[at:]}
        content = content[:at] + extra + after[fault]
    path = tmp_path / f"log.{kind}"
    path.write_bytes(content)
    found = outcome(str(path))
    assert found is None or sum(found[0].values()) <= ROWS


@FUZZ
@given(
    st.sampled_from(["csv", "ndjson"]),
    st.integers(0, ROWS),
    st.sampled_from(["{", "x", '{"a"', "[1]", "null", '"']),
)
def test_a_line_that_is_no_record_costs_that_line_alone(tmp_path, kind, at, line):
    lines = log_bytes(kind).decode().splitlines()
    lines.insert(max(at, 1), line)
    path = tmp_path / f"log.{kind}"
    path.write_text("\n".join(lines) + "\n")
    found = outcome(str(path))
    if (
        line == '"' and kind == "csv"
    ):  # a quotation mark opens a field that the rest of the file may belong to
        return
    units, report = found
    assert units == WHOLE
    assert sum(report.quarantined.values()) == 1


names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
    st.sampled_from(
        ["'; DROP TABLE exd_bins; --", '"', "%s", "{0}", "a\nb", "\\", "../..", "x" * 256, "Ä" * 200, "NULL"]
    ),
).filter(lambda name: name.strip() == name)


@FUZZ
@given(names, names, libraries)
def test_flags_and_variants_of_any_name_are_counted_or_refused_by_us(tmp_path, key, other, library):
    variants = ("control", other) if other != "control" else ("control", "treatment")
    frame = pd.DataFrame(COLUMNS).assign(flag_key=key)
    frame["variant_key"] = frame["variant_key"].map(dict(zip("ab", variants, strict=True)))
    source = written(frame, library, tmp_path)
    try:
        found = None if source is None else outcome(source, key, variants)
    except ExdError:  # a name that no flag may have
        return
    if found is not None:
        assert found[0] == {variants[0]: 20, variants[1]: 20}


@FUZZ
@given(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [
                "/" + "x" * 5000,
                "x" * 300 + ".csv",
                "/",
                ".",
                "s3://",
                "nope://x/*.csv",
                "%Y/%Q",
                "[",
                "**",
                "\0",
            ]
        ),
    )
)
def test_a_path_of_any_spelling_is_refused_by_us(path):
    assert outcome(path) is None


@FUZZ
@given(
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "shift-jis"]),
    st.sampled_from(["csv", "ndjson"]),
)
def test_a_text_log_of_any_encoding_is_counted_or_said_to_be_so(tmp_path, encoding, kind):
    text = log_bytes(kind).decode().replace('"b"', '"β"' if encoding.startswith("utf") else '"°"')
    path = tmp_path / f"log.{kind}"
    path.write_bytes(text.encode(encoding))
    found = outcome(str(path))
    assert found is None or sum(found[0].values()) == 40 or found[1].unreadable


@FUZZ
@given(st.sampled_from(["array", "pretty", "object", "nested", "empty", "scalar"]))
def test_a_whole_json_document_is_counted_or_refused_by_us(tmp_path, form):
    rows = json.loads("[" + ",".join(log_bytes("ndjson").decode().splitlines()) + "]")
    text = {
        "array": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2),
        "object": json.dumps({"rows": rows}),
        "nested": json.dumps([rows]),
        "empty": "[]",
        "scalar": "7",
    }[form]
    path = tmp_path / "log.json"
    path.write_text(text)
    found = outcome(str(path))
    assert found is None or found[0] == WHOLE or not sum(found[0].values())
