"""DuckDB as an engine that keeps first exposures in a schema of its own, and whose log may be replaced."""

import pandas as pd

from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, TYPES, DuckBackend

SCHEMA = "exd_state"
_IBIS = {kind: name for name, kind in TYPES.items()} | {
    "TIMESTAMP WITH TIME ZONE": "timestamp('UTC')",
    "INTEGER": "int32",
    "TINYINT": "int8",
}


class Warehouse(DuckBackend):
    """Makes, lists and drops tables, as Ibis's own backends do."""

    def __init__(self, log: pd.DataFrame, columns: dict[str, str] = COLUMNS) -> None:
        super().__init__(log, {name: kind for name, kind in columns.items() if name in log})
        self.connection.execute(f"CREATE SCHEMA {SCHEMA}")

    def load(self, log: pd.DataFrame) -> IbisRecords:
        """Replace the log, and return it as records with a state."""
        self.connection.execute("DROP TABLE flag_evaluations")
        self.write(log)
        return self.records()

    def records(self) -> IbisRecords:
        return IbisRecords(connection=self, table="flag_evaluations", state_schema=SCHEMA)

    def of_log(self) -> list[pd.DataFrame]:
        """Return what each query of the log itself gives, in order."""
        queries = [query for query in self.queries if 'FROM "flag_evaluations"' in query]
        return [self.connection.execute(query).df() for query in queries]

    def kinds(self) -> list[str]:
        """Return the kinds of the tables of the state that are there."""
        return sorted(name.rpartition("_")[2] for name in self.list_tables(database=SCHEMA))

    def table(self, name, database=None):
        import ibis

        if database is None:
            return super().table(name)
        described = self.connection.execute(f'DESCRIBE {database}."{name}"').fetchall()
        kinds = {column: _IBIS[kind] for column, kind, *_ in described}
        return ibis.table(kinds, name=name, database=database)

    def create_table(self, name, expression, *, database):
        import ibis

        self.queries.append(str(ibis.to_sql(expression, dialect="duckdb")))
        self.connection.execute(f'CREATE TABLE {database}."{name}" AS {self.queries[-1]}')

    def list_tables(self, *, database):
        query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?"
        return [name for (name,) in self.connection.execute(query, [database]).fetchall()]

    def raw_sql(self, query):
        self.connection.execute(query)


class Recording(Warehouse):
    """Keeps the results, and the columns of the tables that were made, in order."""

    def __init__(self, log: pd.DataFrame) -> None:
        super().__init__(log)
        self.results, self.made = [], []

    def execute(self, expression):
        self.results.append(super().execute(expression))
        return self.results[-1]

    def create_table(self, name, expression, *, database):
        super().create_table(name, expression, database=database)
        self.made.append(dict(self.table(name, database).schema()))


class Replaying:
    """Writes every statement for another engine, and gives the results that DuckDB gave."""

    def __init__(self, name: str, twin: Recording) -> None:
        self.name, self.twin, self.queries = name, twin, []
        self.results, self.made, self.columns = [*twin.results], [*twin.made], {}

    def table(self, name, database=None):
        import ibis

        return self.twin.table(name) if database is None else ibis.table(self.columns[name], name=name)

    def list_tables(self, *, database):
        return [*self.columns]

    def execute(self, expression):
        self._write(expression)
        return self.results.pop(0)

    def create_table(self, name, expression, *, database):
        self._write(expression)
        self.columns[name] = self.made.pop(0)

    def raw_sql(self, query):
        self.queries.append(query)

    def _write(self, expression) -> None:
        import ibis

        self.queries.append(str(ibis.to_sql(expression, dialect=self.name)))
