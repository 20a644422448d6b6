"""Each function that is sent to an engine which no test runs is one that its documentation lists.

Parsing says nothing of that: any name may stand for a function. What an update of Ibis or of the queries
brings is looked up and added here: the name, the types it takes and gives, and what it makes of NULL.

Each entry was looked up. BigQuery: headings of GoogleSQL's documentation (github.com/google/zetasql, docs).
Trino: its documentation (github.com/trinodb/trino, docs/src/main/sphinx/functions), to which that of Athena's
engine version 3 refers. Databricks: pages of the functions, for those of its alphabetical list here Spark's
own list, which is part of it. Snowflake: pages of the functions, of their families, and its list of the
built-in functions that dialects share. What was found there of the queries' assumptions:

- LEAST and GREATEST of a NULL are NULL in Snowflake, BigQuery and Trino; Databricks skips it. None gets one.
- HASH of NULL is a number in Snowflake: whether a row has a unit is never taken from its hash.
- MOD has the sign of the dividend in BigQuery: remainders of hashes are only summed.
- IEEE_DIVIDE and TRY_DIVIDE give a float: the dividend is a multiple of the divisor, see `functions.whole`.
- UNIX_MILLIS takes a TIMESTAMP in BigQuery, to which a DATETIME is not coerced, and in Databricks.
"""

from itertools import pairwise

import pytest

from exd_dagster.bins.engine.expressions import day_literal, is_between, is_one_of
from exd_dagster.bins.engine.functions import hour_of
from tests.bins.test_engines import queries_of

ibis = pytest.importorskip("ibis")
sqlglot = pytest.importorskip("sqlglot")

_BIGQUERY = "https://cloud.google.com/bigquery/docs/reference/standard-sql"
_DATABRICKS = "https://docs.databricks.com/aws/en/sql/language-manual"
_SNOWFLAKE = "https://docs.snowflake.com/en/sql-reference"
_TRINO = "https://trino.io/docs/current/functions"
_OF_TRINO = {
    f"{_TRINO}/aggregate.html": "count max min sum",
    f"{_TRINO}/binary.html": "from_big_endian_64 xxhash64",
    f"{_TRINO}/comparison.html": "greatest least",
    f"{_TRINO}/conditional.html": "coalesce if",
    f"{_TRINO}/conversion.html": "cast",
    f"{_TRINO}/datetime.html": "date_trunc from_iso8601_date from_iso8601_timestamp millisecond to_unixtime",
    f"{_TRINO}/math.html": "floor",
    f"{_TRINO}/string.html": "concat lower to_utf8 trim",
}
DOCUMENTED = {
    "snowflake": {
        f"{_SNOWFLAKE}/functions-aggregation": "count max min sum",
        f"{_SNOWFLAKE}/expressions-conditional": "coalesce greatest iff least",
        f"{_SNOWFLAKE}/functions-conversion": "cast",
        f"{_SNOWFLAKE}/functions-date-time": "date_from_parts date_part date_trunc",
        f"{_SNOWFLAKE}/functions/timestamp_from_parts": "timestamp_from_parts timestamp_tz_from_parts",
        f"{_SNOWFLAKE}/functions/hash": "hash",
        f"{_SNOWFLAKE}/functions-numeric": "floor",
        f"{_SNOWFLAKE}/functions-string": "concat lower trim",
        f"{_SNOWFLAKE}/sql/select": "exclude",
    },
    "bigquery": {
        f"{_BIGQUERY}/aggregate_functions": "count max min sum",
        f"{_BIGQUERY}/conditional_expressions": "coalesce if",
        f"{_BIGQUERY}/conversion_functions": "cast",
        f"{_BIGQUERY}/date_functions": "date",
        f"{_BIGQUERY}/datetime_functions": "datetime",
        f"{_BIGQUERY}/hash_functions": "farm_fingerprint",
        f"{_BIGQUERY}/mathematical_functions": "greatest ieee_divide least mod trunc",
        f"{_BIGQUERY}/query-syntax": "except",
        f"{_BIGQUERY}/string_functions": "concat lower trim",
        f"{_BIGQUERY}/timestamp_functions": "timestamp unix_millis",
    },
    "databricks": {
        f"{_DATABRICKS}/sql-ref-functions-builtin-alpha": "coalesce concat count if lower max min sum",
        f"{_DATABRICKS}/functions/cast": "cast",
        f"{_DATABRICKS}/functions/greatest": "greatest",
        f"{_DATABRICKS}/functions/least": "least",
        f"{_DATABRICKS}/functions/make_date": "make_date",
        f"{_DATABRICKS}/functions/trim": "trim",
        f"{_DATABRICKS}/functions/try_divide": "try_divide",
        f"{_DATABRICKS}/functions/unix_millis": "unix_millis",
        f"{_DATABRICKS}/functions/xxhash64": "xxhash64",
    },
    "trino": _OF_TRINO,
    "athena": _OF_TRINO,  # https://docs.aws.amazon.com/athena/latest/ug/functions-env3.html: Trino's
}
"""By engine: a page of its documentation, and the functions on it that are used."""

_NO_FUNCTIONS = {"and", "as", "distinct", "exists", "from", "in", "join", "not", "or", "when", "where"}
"""Words of SQL that may stand before a parenthesis."""


def functions_of(sql: str, engine: str) -> set[str]:
    """Return the names before a parenthesis, in lower case."""
    tokens = sqlglot.tokenize(sql, read=engine)
    names = {
        before.text.lower()
        for before, after in pairwise(tokens)
        if after.text == "(" and before.text.isidentifier() and before.token_type.name != "IDENTIFIER"
    }
    return names - _NO_FUNCTIONS


def query_unlike_the_log(engine, at="timestamp"):
    """Return a query of what the log of `queries_of` has not: other times, days as partitions, truths."""
    log = ibis.table({"at": at, "day": "date", "text": "string", "truth": "boolean"}, name="log")
    tests = [is_between(log.at, 0, 1), log.day >= day_literal(0, -1)]
    tests += [is_one_of(log.text, [True, 1.5]), is_one_of(log.truth, [1])]
    return str(ibis.to_sql(log.filter(tests).select(hour=hour_of(log.at, engine)), dialect=engine))


@pytest.mark.parametrize("engine", DOCUMENTED)
def test_each_function_is_one_that_the_engine_documents(engine):
    queries = [*queries_of(engine), query_unlike_the_log(engine)]
    used = set().union(*(functions_of(sql, engine) for sql in queries))
    documented = {name for names in DOCUMENTED[engine].values() for name in names.split()}
    assert used == documented


def test_a_function_is_found_wherever_it_stands():
    sql = "SELECT a FROM (SELECT Nested(inner_one(x)) AS n FROM t) WHERE n IN (1) AND NOT (last(n) = 2)"
    assert functions_of(sql, "trino") == {"nested", "inner_one", "last"}


@pytest.mark.parametrize(
    ("kind", "argument"), [("timestamp", "TIMESTAMP(`t0`.`at`, 'UTC')"), ("timestamp('UTC')", "`t0`.`at`")]
)
def test_bigquery_takes_a_datetime_for_a_time_in_utc(kind, argument):
    """Its functions of a TIMESTAMP refuse a DATETIME, to which nothing is coerced."""
    sql = query_unlike_the_log("bigquery", kind)
    millis = [
        tree.sql("bigquery")
        for tree in sqlglot.parse_one(sql, read="bigquery").find_all(sqlglot.exp.UnixMillis)
    ]
    assert millis
    assert {one.replace("t1", "t0") for one in millis} == {f"UNIX_MILLIS({argument})"}
