"""How the store is written in YAML."""

from typing import Annotated, TypeAlias

from dagster_duckdb import DuckDBResource

from exd_dagster.definitions.component.yaml import Kinds
from exd_dagster.definitions.store import DuckLakeResource
from exd_dagster.errors import ConfigError

STORES = {"ducklake": DuckLakeResource}
"""Stores that are not a file, by their `type` in YAML."""


def _file(path: str) -> DuckDBResource:
    if not path:
        raise ConfigError("store", ["store: is empty; give the path of a DuckDB file"])
    return DuckDBResource(database=path)


AnyStore: TypeAlias = Annotated[DuckDBResource, Kinds(STORES, DuckDBResource, _file)]
