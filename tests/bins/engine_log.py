"""One awkward log for every engine: nulls, repeats, late rows, phases inside hours, filters."""

import random
from datetime import timedelta

import duckdb
import pandas as pd

from exd_dagster.config import Phase
from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.conftest import HOUR, SPLIT, START, flag

COLUMNS = {
    "evaluation_id": "string",
    "timestamp": "timestamp('UTC')",
    "ingested_at": "timestamp('UTC')",
    "flag_key": "string",
    "variant_key": "string",
    "unit_id_hash": "string",
    "environment": "string",
    "manifest_version": "int64",
    "evaluation_reason": "string",
    "country": "string",
    "score": "int64",
}
TYPES = {
    "string": "VARCHAR",
    "timestamp('UTC')": "TIMESTAMPTZ",
    "int64": "BIGINT",
    "date": "DATE",
    "boolean": "BOOLEAN",
}
ODD = "ü 'q\" %Y \N{ROCKET}"
"""A flag's name."""
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
    flag(
        ODD,
        start=START + HOUR / 2,
        phases=tuple(
            Phase(start=START + hour * HOUR, split=SPLIT, rerandomized=hour == 4.25)
            for hour in (2, 4.25, 4.5)
        ),
        include={"score": [1, 2], "country": ["us", "fr"]},
        exclude_reasons=("off", ODD),
        ignore_variants=(ODD, "Zulu"),
    ),
]


def awkward_log(rows: int = 3000) -> pd.DataFrame:
    chance = random.Random(7)
    records = []
    for i in range(rows):
        at = START + timedelta(milliseconds=chance.randrange(-1_800_000, 14 * 3_600_000, 250))
        key = chance.choice(["checkout", "checkout", "search", "menu", ODD, "other"])
        records.append(
            {
                "evaluation_id": None if chance.random() < 0.1 else f"id{chance.randrange(rows)}",
                "timestamp": at,
                "ingested_at": at + chance.choice([timedelta(seconds=3), timedelta(hours=5)]),
                "flag_key": key,
                "variant_key": chance.choice(
                    ["control", "treatment"] * 6 + ["Zulu", "alpha", "holdout", ODD, "Ä", "", None]
                ),
                "unit_id_hash": chance.choice([f"u{chance.randrange(200)}"] * 20 + ["", None]),
                "environment": chance.choice(["production", "staging"])
                if key == "checkout"
                else "production",
                "manifest_version": chance.choice([7, 8]),
                "evaluation_reason": chance.choice(["fallthrough"] * 8 + ["off", "error", ODD]),
                "country": chance.choice(["de", "fr", "us", None]),
                "score": chance.choice([1, 2, 3]),
            }
        )
        if i % 9 == 0:
            records.append(dict(records[-1]))
    return pd.DataFrame(records)


def in_duckdb(log: pd.DataFrame, columns=COLUMNS) -> IbisRecords:
    """Return the log as a table of DuckDB that Ibis counts; columns of `columns` it lacks are left out."""
    columns = {name: kind for name, kind in columns.items() if name in log}
    return IbisRecords(connection=DuckBackend(log, columns), table="flag_evaluations")


class DuckBackend:
    """Runs the SQL that Ibis writes for DuckDB, in UTC as Ibis's own backend does."""

    name = "duckdb"

    def __init__(self, log: pd.DataFrame, columns: dict[str, str]) -> None:
        self.columns = columns
        self.queries: list[str] = []
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.write(log)

    def write(self, log: pd.DataFrame) -> None:
        """Make the table of the log."""
        chosen = ", ".join(
            f'CAST("{name}" AS {TYPES[kind]}) AS "{name}"' for name, kind in self.columns.items()
        )
        self.connection.execute(f"CREATE TABLE flag_evaluations AS SELECT {chosen} FROM log")

    def table(self, name, database=None):
        import ibis

        return ibis.table(self.columns, name=name)

    def execute(self, expression):
        import ibis

        self.queries.append(str(ibis.to_sql(expression, dialect="duckdb")))
        return self.connection.execute(self.queries[-1]).df()
