"""How an engine runs a query: tagged, so that its bill and its monitoring show whose it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TAG = "exd_dagster"
HASH_MEMORY = "64MB"
"""Of each grouping in PostgreSQL, unless the session's own work_mem is more."""

PARTITION_ROWS = 250_000
"""Of each partition that Spark shuffles, where the session's own number of partitions is more."""


@contextmanager
def tagged(backend: Any, rows: int | None = None) -> Iterator[None]:
    """Tag what is run inside, and leave the session as it was; in Snowflake without a tag.

    PostgreSQL gets it as application_name, Spark as description of its jobs, Snowflake as QUERY_TAG, BigQuery
    as the label "application", ClickHouse as log_comment unless its user may change no setting.
    PostgreSQL is also set to group by hash in `HASH_MEMORY` or more; many groups it would sort by default.
    Its compiler of expressions is off: it takes longer than it saves, for a preset's paths many times over.
    Rows cost nothing to pass between processes: it takes few groups for many and would not share the work.
    It knows nothing of a table that was just made, and must not go through one for each row of another.

    Spark shuffles few rows into few partitions: each costs what it costs.

    Args:
        backend: an Ibis backend.
        rows: about how many rows are grouped, None where that is not known.
    """
    if backend.name == "postgres" and hasattr(backend, "begin"):
        with backend.begin() as cursor:
            cursor.execute(f"SET LOCAL application_name = '{TAG}'")
            cursor.execute("SET LOCAL enable_sort = off; SET LOCAL jit = off")
            cursor.execute("SET LOCAL parallel_tuple_cost = 0; SET LOCAL enable_nestloop = off")
            more = "pg_size_bytes(current_setting('work_mem')) < pg_size_bytes(%s)"
            cursor.execute(f"SELECT set_config('work_mem', %s, true) WHERE {more}", [HASH_MEMORY] * 2)
            yield
    elif backend.name == "pyspark" and hasattr(backend, "_session"):
        with _partitioned(backend._session.conf, rows):
            yield from _in_spark(backend)
    elif backend.name == "snowflake" and hasattr(backend, "raw_sql"):
        backend.raw_sql(f"ALTER SESSION SET QUERY_TAG = '{TAG}'")
        try:
            yield
        finally:
            backend.raw_sql("ALTER SESSION UNSET QUERY_TAG")
    elif backend.name == "bigquery" and hasattr(backend, "client"):
        config = backend.client.default_query_job_config
        before = dict(config.labels)
        config.labels = {**before, "application": TAG}
        try:
            yield
        finally:
            config.labels = before
    elif backend.name == "clickhouse" and hasattr(backend, "con"):
        yield from _in_clickhouse(backend.con)
    else:
        yield


def create_table(backend: Any, name: str, schema: str, expression: Any) -> None:
    """Make a table of an expression by one CREATE TABLE AS, in the session's own format.

    Args:
        backend: an Ibis backend.
        name: of the table, which is not there yet.
        schema: where to make it, as Ibis takes it.
        expression: an Ibis table.
    """
    if backend.name == "postgres" and hasattr(backend, "begin"):  # Ibis inserts, which is not parallel
        place = ".".join('"{}"'.format(part.replace('"', '""')) for part in (*schema.split("."), name))
        backend.raw_sql(f"CREATE TABLE {place} AS {backend.compile(expression)}").close()
    elif backend.name == "pyspark" and hasattr(backend, "_session"):
        form = backend._session.conf.get("spark.sql.sources.default")
        backend.create_table(name, expression, database=schema, format=form)
    else:
        backend.create_table(name, expression, database=schema)


def drop_table(backend: Any, name: str, schema: str) -> None:
    """Drop a table if it is there; by SQL, since what Ibis writes depends on the version of its parser.

    Args:
        backend: an Ibis backend.
        name: of the table.
        schema: where it is, as Ibis takes it.
    """
    from sqlglot import expressions

    catalog, _, database = schema.rpartition(".")
    dialect = getattr(backend, "dialect", backend.name)
    place = expressions.table_(name, db=database, catalog=catalog or None, quoted=True).sql(dialect=dialect)
    done = backend.raw_sql(f"DROP TABLE IF EXISTS {place}")
    if hasattr(done, "close"):
        done.close()


@contextmanager
def _partitioned(conf: Any, rows: int | None) -> Iterator[None]:
    before = str(conf.get(_PARTITIONS))
    needed = None if rows is None else max(2, -(-rows // PARTITION_ROWS))
    if needed is None or not before.isdecimal() or int(before) <= needed:
        yield
        return
    conf.set(_PARTITIONS, str(needed))
    try:
        yield
    finally:
        conf.set(_PARTITIONS, before)


def _in_clickhouse(client: Any) -> Iterator[None]:
    setting = client.server_settings.get("log_comment")
    if setting is None or setting.readonly:
        yield
        return
    before = client.get_client_setting("log_comment") or ""
    client.set_client_setting("log_comment", TAG)
    try:
        yield
    finally:
        client.set_client_setting("log_comment", before)


def _in_spark(backend: Any) -> Iterator[None]:
    context = getattr(backend._session, "_sc", None)
    if context is None:  # Spark Connect
        yield
        return
    before = context.getLocalProperty(_DESCRIPTION)
    context.setLocalProperty(_DESCRIPTION, TAG)
    try:
        yield
    finally:
        context.setLocalProperty(_DESCRIPTION, before)


_DESCRIPTION = "spark.job.description"
_PARTITIONS = "spark.sql.shuffle.partitions"
