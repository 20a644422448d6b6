"""First exposures in tables of the engine: which are current, and how others are made and dropped.

No table is ever changed: each is made by one CREATE TABLE AS (in Databricks Ibis makes it and inserts, in
two statements), under a name that is never used again. Which are current stands in the bin store and is
committed with the bins, so a crash at any moment leaves the tables of the bins as they are. All others of
this store are dropped after the commit, or after a later one.

base   first exposures by scope, iteration, phase and unit
delta  rows that replace those of the base; without a first exposure where it has none any more
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_hex
from typing import Any, TypeAlias

import duckdb

from exd_dagster.bins.engine.functions import hashes
from exd_dagster.bins.engine.session import create_table, drop_table, tagged
from exd_dagster.bins.rows import insert_rows
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.ibis import IbisRecords

Expression: TypeAlias = Any
"""An Ibis value or table."""

_log = logging.getLogger("exd_dagster")


@dataclass(frozen=True, slots=True)
class Pointer:
    """The tables that are current.

    Attributes:
        base: name of the table.
        delta: name of the table, None without one.
        base_rows: rows of the base when it was made.
        delta_rows: rows of the delta.
        ranks: rank of each variant in the exposures.
    """

    base: str
    delta: str | None
    base_rows: int
    delta_rows: int
    ranks: Mapping[str, int]


@dataclass(slots=True)
class EngineState:
    """The state of one log and stage; writers run inside the transaction that writes the bins.

    Attributes:
        connection: the store.
        records: the log, with a `state_schema`.
        stage: name of the flags' stage, "" for exposure.
        seed: of the store's unit hashes.
        pointer: the current tables; None when there are none.
        scopes: by number of each flag with a state, the hash of its scope; None where it has no record yet.
        made: tables made by this update.
    """

    connection: duckdb.DuckDBPyConnection
    records: IbisRecords
    stage: str
    seed: int
    pointer: Pointer | None = None
    scopes: dict[int, int | None] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    @classmethod
    def find(
        cls, connection: duckdb.DuckDBPyConnection, records: IbisRecords, stage: str, seed: int
    ) -> "EngineState":
        """Read which tables are current; those that are no longer there hold no state.

        Raises:
            RecordsError: when the engine has no hash of 64 bits, or its schema cannot be listed.
        """
        state = cls(connection, records, stage, seed)
        row = connection.execute(
            "SELECT base, delta, base_rows, delta_rows, ranks FROM exd_states "
            "WHERE source = ? AND stage = ? AND place = ?",
            [records.label, stage, state.place],
        ).fetchone()
        there = {*state.tables()}
        if row is None or not {name for name in row[:2] if name} <= there:
            return state
        base, delta, base_rows, delta_rows, ranks = row
        state.pointer = Pointer(base, delta, base_rows, delta_rows, json.loads(ranks))
        state.scopes = state._stated()
        return state

    @property
    def place(self) -> str:
        """Engine and schema."""
        return f"{self.records.connection.name}:{self.records.state_schema}"

    @property
    def dead(self) -> bool:
        """Whether the tables have rows of flags that were forgotten."""
        query = "SELECT 1 FROM exd_stated WHERE source = ? AND stage = ? AND flag IS NULL LIMIT 1"
        return bool(self.connection.execute(query, [self.records.label, self.stage]).fetchone())

    def save(self, pointer: Pointer, scopes: Mapping[int, int | None], *, rewritten: bool) -> None:
        """Make tables the current ones.

        Args:
            pointer: the tables.
            scopes: of the flags counted now; added to those of the others.
            rewritten: whether the base is a new one, without rows of forgotten flags.
        """
        key = [self.records.label, self.stage]
        self.connection.execute("DELETE FROM exd_states WHERE source = ? AND stage = ?", key)
        names = [pointer.base, pointer.delta, pointer.base_rows, pointer.delta_rows]
        row = (*key, self.place, *names, json.dumps(dict(pointer.ranks)))
        insert_rows(self.connection, "exd_states", [row])
        self.pointer, self.scopes = pointer, {**self.scopes, **scopes}
        kept = "" if rewritten else " AND flag IS NOT NULL"
        self.connection.execute(f"DELETE FROM exd_stated WHERE source = ? AND stage = ?{kept}", key)
        rows = [(*key, number, scope) for number, scope in self.scopes.items()]
        insert_rows(self.connection, "exd_stated", rows)

    def refresh(self) -> None:
        """Leave out the flags that were forgotten since: they are counted anew."""
        self.scopes = self._stated() if self.pointer else {}

    def _stated(self) -> dict[int, int | None]:
        query = "SELECT flag, scope FROM exd_stated WHERE source = ? AND stage = ? AND flag IS NOT NULL"
        return dict(self.connection.execute(query, [self.records.label, self.stage]).fetchall())

    def table(self, name: str) -> Expression:
        """Return one of the tables."""
        return self.records.connection.table(name, database=self.records.state_schema)

    def make(self, kind: str, expression: Expression, rows: int | None = None) -> str:
        """Make a table of an expression, and return its name.

        Args:
            kind: the end of the name.
            expression: an Ibis table.
            rows: about how many rows it groups, None where that is not known.

        Raises:
            RecordsError: when the engine refuses.
        """
        ((number,),) = self.connection.execute("SELECT updates FROM exd_meta").fetchall()
        name = f"{self._prefix}{number}_{token_hex(4)}_{kind}"
        backend = self.records.connection
        try:
            with tagged(backend, rows):
                create_table(backend, name, str(self.records.state_schema), expression)
        except Exception as error:
            raise RecordsError(
                f"{self.place} cannot hold the first exposures: {error}\nLet the role create tables there, "
                "or leave state_schema out, which recounts in every run"
            ) from error
        self.made.append(name)
        return name

    @staticmethod
    def list_tables(records: IbisRecords) -> list[str]:
        """Return the names of all tables of a schema for first exposures.

        Raises:
            RecordsError: when the engine has no hash of 64 bits, or its schema cannot be listed.
        """
        name = records.connection.name
        if not hashes(name):
            raise RecordsError(
                f"{records.place}: state_schema needs an engine with a 64-bit hash, which {name} has not; "
                "leave it out"
            )
        try:
            return list(records.connection.list_tables(database=records.state_schema))
        except Exception as error:
            raise RecordsError(
                f"{name}:{records.state_schema}, the state_schema, cannot be listed: {error}"
            ) from error

    def tables(self) -> list[str]:
        """Return the names of this store's tables in the schema; see `list_tables`."""
        return [name for name in self.list_tables(self.records) if name.startswith(self._prefix)]

    def drop_stale(self) -> None:
        """Drop the tables that are not current, after the commit.

        Of other updates only earlier ones: one with the number of this update may be another worker's, which
        is about to be told of a conflict. What cannot be dropped is told and left to the next run.
        """
        query = "SELECT base FROM exd_states UNION SELECT delta FROM exd_states"
        current = {name for (name,) in self.connection.execute(query).fetchall()}
        ((number,),) = self.connection.execute("SELECT updates FROM exd_meta").fetchall()
        for name in {*self.tables()} - current:
            update = name[len(self._prefix) :].partition("_")[0]
            if name not in self.made and not (update.isdecimal() and int(update) < number):
                continue
            try:
                with tagged(self.records.connection):
                    drop_table(self.records.connection, name, str(self.records.state_schema))
            except Exception as error:  # noqa: BLE001 - of any engine
                _log.warning("%s: %s cannot be dropped: %s", self.place, name, error)

    @property
    def _prefix(self) -> str:
        return f"exd_state_{sha256(str(self.seed).encode()).hexdigest()[:8]}_"


def moved(old: Mapping[str, int], new: Mapping[str, int]) -> dict[int, int]:
    """Return the ranks of variants that have another one now."""
    return {rank: new[name] for name, rank in old.items() if new[name] != rank}
