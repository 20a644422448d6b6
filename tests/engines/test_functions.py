"""Each function that is sent to an engine which no test runs is one that its documentation lists.

Parsing says nothing of that: any name may stand for a function. What an update of Ibis or of the queries
brings is looked up and added here.
"""

from itertools import pairwise

import pytest

from tests.bins.test_engines import queries_of

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
    f"{_TRINO}/datetime.html": "date_trunc from_iso8601_timestamp millisecond to_unixtime",
    f"{_TRINO}/math.html": "floor",
    f"{_TRINO}/string.html": "concat to_utf8 trim",
}
DOCUMENTED = {
    "snowflake": {
        f"{_SNOWFLAKE}/functions-aggregation": "count max min sum",
        f"{_SNOWFLAKE}/expressions-conditional": "coalesce greatest iff least",
        f"{_SNOWFLAKE}/functions-conversion": "cast",
        f"{_SNOWFLAKE}/functions-date-time": "date_part date_trunc timestamp_tz_from_parts",
        f"{_SNOWFLAKE}/functions-hash-scalar": "hash",
        f"{_SNOWFLAKE}/functions-numeric": "floor",
        f"{_SNOWFLAKE}/functions-string": "concat trim",
        f"{_SNOWFLAKE}/sql/select": "exclude",
    },
    "bigquery": {
        f"{_BIGQUERY}/aggregate_functions": "count max min sum",
        f"{_BIGQUERY}/conditional_expressions": "coalesce if",
        f"{_BIGQUERY}/conversion_functions": "cast",
        f"{_BIGQUERY}/hash_functions": "farm_fingerprint",
        f"{_BIGQUERY}/mathematical_functions": "floor greatest ieee_divide least mod trunc",
        f"{_BIGQUERY}/query-syntax": "except",
        f"{_BIGQUERY}/string_functions": "concat trim",
        f"{_BIGQUERY}/timestamp_functions": "extract timestamp timestamp_trunc unix_seconds",
    },
    "databricks": {
        f"{_DATABRICKS}/sql-ref-functions-builtin-alpha": "cast coalesce concat count greatest if least "
        "max min sum trim "
        "try_divide unix_millis xxhash64",
    },
    "trino": _OF_TRINO,
    "athena": _OF_TRINO,  # https://docs.aws.amazon.com/athena/latest/ug/functions.html: Trino's
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


@pytest.mark.parametrize("engine", DOCUMENTED)
def test_each_function_is_one_that_the_engine_documents(engine):
    used = set().union(*(functions_of(sql, engine) for sql in queries_of(engine)))
    documented = {name for names in DOCUMENTED[engine].values() for name in names.split()}
    assert used - documented == set()


def test_a_function_is_found_wherever_it_stands():
    sql = "SELECT a FROM (SELECT Nested(inner_one(x)) AS n FROM t) WHERE n IN (1) AND NOT (last(n) = 2)"
    assert functions_of(sql, "trino") == {"nested", "inner_one", "last"}
