"""Parse timestamps of all common formats, as SQL for microseconds since 1970 in UTC.

| form | written by |
|---|---|
| timestamps of any unit, with or without a zone; dates | Parquet, DataFrames, DuckDB, warehouses |
| seconds, milliseconds, microseconds or nanoseconds since 1970 | JavaScript, Kafka, BigQuery |
| `2026-03-01T09:00:00.123Z`, `2026-03-01 09:00:00,123`, `20260301T090000Z`, `20260301090000` | most loggers |
| `... +0100 CET m=+0.5` after the seconds | Go |
| `...+01:00[Europe/Berlin]`, `Sun Mar 01 09:00:00 UTC 2026`, `Mar 1, 2026 9:00:00 AM` | Java |
| `Sun Mar 01 2026 09:00:00 GMT+0100 (Central European Standard Time)` | JavaScript |
| `Sun, 01 Mar 2026 09:00:00 GMT`, `01/Mar/2026:09:00:00 +0000` | HTTP, mail, web servers |

Ambiguous timestamps are not guessed: `3/1/2026` (day or month first), and abbreviations of zones
that several countries use (`IST`). Set their format with `time_format`.
"""

from exd_dagster.errors import RecordsError

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
NUMBERS = ("DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UHUGEINT")
AWARE = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
"""DuckDB types of an instant; the second is new in DuckDB 2."""

_AMBIGUOUS_ZONES = ("ADT", "AMT", "AST", "BST", "CST", "ECT", "GST", "IST", "SST", "WST")
_OFFSET = "[+-][0-9]{2}:?[0-9]{2}"
_AMERICAN = {"EST": 5, "EDT": 4, "CST": 6, "CDT": 5, "MST": 7, "MDT": 6, "PST": 8, "PDT": 7}
"""Hours behind UTC of the zones that RFC 2822 names, in its own form alone."""
_TIDY = (
    (" m=[+-][0-9.]+$", ""),  # Go: the monotonic clock
    (r"(?:\[[^\]]*\]| [(].*[)])$", ""),  # Java: [Europe/Berlin]; JavaScript: (Central European Standard Time)
    (rf"(:[0-9]{{2}}(?:[.][0-9]+)? ?{_OFFSET}) (?:[A-Z]{{3,5}}|[+-][0-9]{{2,4}})$", r"\1"),  # Go: +0100 CET
    ("([0-9]{2}:[0-9]{2}),([0-9])", r"\1.\2"),  # log4j and Python: comma of the milliseconds
    ("([.][0-9]{6})[0-9]+", r"\1"),
    ("^[A-Za-z]{3,9}, *", ""),  # RFC 1123: the day of the week
    (" GMT([+-])", r" \1"),
    (" (?:GMT|UTC?)( |$)", r" +0000\1"),
    *((f"^([0-9]{{1,2}} [A-Z].*) {name}$", rf"\1 -{hours:02d}00") for name, hours in _AMERICAN.items()),
)
"""What is rewritten before the forms below are tried."""
_AWARE_FORMS = (
    "%d %b %Y %H:%M:%S %z",
    "%d %b %Y %H:%M %z",
    "%d-%b-%Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y%m%dT%H%M%S%z",
    "%Y%m%dT%H%M%SZ",
)
_LOCAL_FORMS = (
    "%a %b %d %H:%M:%S %Y",
    "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y, %I:%M:%S %p",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %I:%M %p",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
)
AMBIGUOUS = "^ *[0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{2,4}"
"""Text that starts with a date whose day and month are ambiguous."""


def time_sql(column: str, kind: str, zone: str, time_format: str | None = None) -> str:
    """Return SQL for microseconds since 1970 in UTC, NULL where a value cannot be read.

    Times without an offset are times of `zone`. Numbers are seconds, milliseconds, microseconds or
    nanoseconds since 1970, distinguished by their size, which is unambiguous from 1973 to 2286.

    Args:
        column: SQL of the value.
        kind: its DuckDB type.
        zone: IANA name.
        time_format: strptime pattern of text; None: the forms above.

    Raises:
        RecordsError: for a type that is not a time.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({column})"
    if kind == "TIMESTAMPTZ_NS" or (kind == "TIMESTAMP_NS" and zone == "UTC"):
        return f"(epoch_ns({column}) // 1000)"
    if kind.startswith("TIMESTAMP") or kind == "DATE":  # a damaged instant may be out of range in either type
        return f"epoch_us({_local(f'TRY_CAST({column} AS TIMESTAMP)', zone)})"
    if kind in INTEGERS or kind.startswith(NUMBERS):
        return _from_number(column)
    if kind == "VARCHAR":
        return _from_format(column, zone, time_format) if time_format else _from_text(column, zone)
    raise RecordsError(
        f"has type {kind}, which is not a time; give a timestamp, RFC 3339 text, or a number since 1970"
    )


def _from_text(column: str, zone: str) -> str:
    """Read the usual forms; the others are tried only where these fail, bound once to keep the plan small."""
    usual = f"coalesce({_from_iso(column, zone)}, {_from_number(f'TRY_CAST({column} AS DOUBLE)')})"
    others = f"coalesce({_from_iso('t', zone)}, {_from_forms('t', zone)})"
    slow = f"list_transform([{_tidy(column)}], lambda t: {others})[1]"
    return f"coalesce({_from_most(column, zone)}, {usual}, {slow})"


def _from_most(text: str, zone: str) -> str:
    """Read what most logs write; others are NULL."""
    # These are `2026-03-01T09:00:00.123+01:00`, also with Z or without an offset, and whole numbers since
    # 1970. They are recognised by single characters, at a fraction of the cost of the patterns of other
    # forms.
    offset = " OR ".join(f"substr({text}, -{back}, 1) IN ('+', '-')" for back in (3, 5, 6))
    stamp = (
        f"CASE WHEN ends_with({text}, 'Z') OR {offset} THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) "
        f"WHEN substr({text}, -1) BETWEEN '0' AND '9' "
        f"THEN epoch_us({_local(f'TRY_CAST({text} AS TIMESTAMP)', zone)}) END"
    )
    # an offset with seconds is left to the other forms: DuckDB passes over its seconds
    return (
        f"CASE WHEN {text} LIKE '{'_' * 16}:%' THEN CASE WHEN substr({text}, -9, 1) NOT IN ('+', '-') "
        f"THEN {stamp} END WHEN strlen({text}) IN (10, 13, 16, 19) "
        f"THEN {_from_number(f'TRY_CAST({text} AS DOUBLE)')} END"
    )


def _tidy(column: str) -> str:
    text = f"trim({column})"
    for pattern, parts in _TIDY:
        text = f"regexp_replace({text}, '{pattern}', '{parts}')"
    return text


def _from_forms(text: str, zone: str) -> str:
    aware, local = (", ".join(f"'{form}'" for form in forms) for forms in (_AWARE_FORMS, _LOCAL_FORMS))
    stamp = _local(f"try_strptime({text}, [{local}])", zone)
    return f"coalesce(epoch_us(try_strptime({text}, [{aware}])), epoch_us({stamp}))"


def _from_iso(text: str, zone: str) -> str:
    # a zone that is not understood makes the time unreadable: a guess would be hours off
    aware = f"regexp_matches({text}, ':[0-9.:]+ *[a-zA-Z+-]')"
    doubtful = f"regexp_matches({text}, '({'|'.join(_AMBIGUOUS_ZONES)}) *$', 'i')"
    tight = f"replace(replace(replace(upper({text}), ' +', '+'), ' -', '-'), ' Z', 'Z')"
    # 12:30Z has no seconds, which DuckDB requires before version 2
    whole = f"regexp_replace({tight}, '([T ][0-9]+:[0-9]+)( ?[A-Z+-])', '\\1:00\\2')"
    offset = f"epoch_us(coalesce(TRY_CAST({tight} AS TIMESTAMPTZ), TRY_CAST({whole} AS TIMESTAMPTZ)))"
    local = f"epoch_us({_local(f'TRY_CAST({text} AS TIMESTAMP)', zone)})"
    return f"CASE WHEN NOT {aware} THEN {local} WHEN NOT {doubtful} THEN {offset} END"


def _from_format(text: str, zone: str, time_format: str) -> str:
    stamp = f"try_strptime({text}, ['{time_format}'])"
    return f"epoch_us({stamp if '%z' in time_format else _local(stamp, zone)})"


def _local(stamp: str, zone: str) -> str:
    return stamp if zone == "UTC" else f"timezone('{zone}', {stamp})"


def _from_number(number: str) -> str:
    value = f"CAST({number} AS DOUBLE)"
    # 20260301090000 is a date of fourteen digits, not a millisecond of the year 2612
    scale = f"CASE WHEN abs({value}) < 1e11 THEN 1e6 WHEN {value} BETWEEN 1970e10 AND 2100e10 THEN NULL "
    scale += f"WHEN abs({value}) < 1e14 THEN 1e3 "
    scale += f"WHEN abs({value}) < 1e17 THEN 1 ELSE 1e-3 END"
    return f"TRY_CAST(floor({value} * ({scale})) AS BIGINT)"
