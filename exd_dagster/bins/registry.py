"""What the store knows of its logs and flags beside the counts: numbers, definitions, ranks, watermarks."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from exd_dagster.bins.audience import RANKS, definition
from exd_dagster.bins.ranks import place
from exd_dagster.bins.schema import insert_rows
from exd_dagster.config import FlagAudit, FlagId


@dataclass(frozen=True, slots=True)
class StoredFlag:
    """A flag as the store knows it.

    Attributes:
        number: its number in every table.
        source: the log it was counted from.
        definition: what was counted, as JSON; see `audience.definition`.
        read_through: first hour (since 1970) not yet read whole.
        retired: True when its units were dropped; its bins are final.
    """

    number: int
    source: str
    definition: str
    read_through: int
    retired: bool


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A log as the store knows it: newest record (ms) and first hour (since 1970) not yet closed."""

    watermark: int
    closed_through: int


@dataclass(frozen=True, slots=True)
class Registry:
    """Reads and writes those tables; writers run inside the caller's transaction."""

    connection: duckdb.DuckDBPyConnection

    def flags(self) -> dict[FlagId, StoredFlag]:
        """Return every flag of the store."""
        columns = "namespace, environment, key, flag, source, definition, read_through, retired"
        rows = self.connection.execute(f"SELECT {columns} FROM exd.flags").fetchall()
        return {FlagId(*row[:3]): StoredFlag(*row[3:]) for row in rows}

    def save_flag(self, flag: FlagAudit, number: int, source: str, read_through: int) -> None:
        """Write down that a flag was counted through an hour."""
        self.connection.execute("DELETE FROM exd.flags WHERE flag = ?", [number])
        self.connection.execute(
            "INSERT INTO exd.flags VALUES (?, ?, ?, ?, ?, ?, ?, false)",
            [number, source, *_parts(flag.id), json.dumps(definition(flag)), read_through],
        )

    def forget_units(self, number: int) -> None:
        """Drop what first exposures are told from; the bins stay until they are replaced."""
        for table in ("units", "variants", "scopes"):
            self.connection.execute(f"DELETE FROM exd.{table} WHERE flag = ?", [number])

    def drop_ended_units(self, before: int) -> tuple[FlagId, ...]:
        """Drop the units of flags whose end (ms) is earlier, and return the flags."""
        ended = []
        for flag, known in self.flags().items():
            end = json.loads(known.definition)["end"]
            if end is not None and end < before and self._has_units(known.number):
                self.forget_units(known.number)
                self.connection.execute("UPDATE exd.flags SET retired = true WHERE flag = ?", [known.number])
                ended.append(flag)
        return tuple(ended)

    def _has_units(self, number: int) -> bool:
        query = "SELECT 1 FROM exd.units WHERE flag = ? LIMIT 1"
        return self.connection.execute(query, [number]).fetchone() is not None

    def scopes(self, number: int) -> set[tuple[str, str]]:
        """Return namespace and environment of every record counted for a flag."""
        query = "SELECT namespace, environment FROM exd.scopes WHERE flag = ?"
        return set(self.connection.execute(query, [number]).fetchall())

    def save_scopes(self, number: int, scopes: Iterable[tuple[str, str]]) -> None:
        """Write down further ones."""
        rows = [(number, *scope) for scope in sorted(set(scopes) - self.scopes(number))]
        insert_rows(self.connection, "exd.scopes", rows)

    def rank(self, number: int, names: Iterable[str]) -> dict[str, int]:
        """Return the rank of every variant of a flag, giving ranks to those that have none.

        Where there is no room between the known ones, all are ranked anew and the stored exposures with them.
        """
        query = "SELECT variant, rank FROM exd.variants WHERE flag = ?"
        known: dict[str, int] = dict(self.connection.execute(query, [number]).fetchall())
        ranks = place(known, names)
        if ranks == known:
            return ranks
        self.connection.execute("DELETE FROM exd.variants WHERE flag = ?", [number])
        rows = [(number, name, rank) for name, rank in ranks.items()]
        insert_rows(self.connection, "exd.variants", rows)
        moved = {known[name]: ranks[name] for name in known if known[name] != ranks[name]}
        if moved:
            self._move_ranks(number, moved)
        return ranks

    def _move_ranks(self, number: int, moved: Mapping[int, int]) -> None:
        self.connection.execute("CREATE OR REPLACE TEMP TABLE exd_moved (old BIGINT, new BIGINT)")
        insert_rows(self.connection, "exd_moved", moved.items())
        for column in ("first", "other"):
            self.connection.execute(
                f"UPDATE exd.units SET {column} = {column} - old + new FROM exd_moved "
                f"WHERE flag = ? AND {column} % {RANKS} = old",
                [number],
            )
        self.connection.execute("DROP TABLE exd_moved")

    def source(self, name: str) -> StoredSource | None:
        """Return what is known of a log."""
        query = "SELECT watermark, closed_through FROM exd.sources WHERE source = ?"
        row = self.connection.execute(query, [name]).fetchone()
        return StoredSource(*row) if row else None

    def save_source(self, name: str, source: StoredSource) -> None:
        """Write it down."""
        self.connection.execute("DELETE FROM exd.sources WHERE source = ?", [name])
        values = [name, source.watermark, source.closed_through]
        self.connection.execute("INSERT INTO exd.sources VALUES (?, ?, ?)", values)

    def hours(self, name: str, first: int, last: int) -> set[int]:
        """Return the hours in `[first, last)` in which a log has any record."""
        query = "SELECT hour FROM exd.hours WHERE source = ? AND hour >= ? AND hour < ?"
        return {row[0] for row in self.connection.execute(query, [name, first, last]).fetchall()}

    def save_hours(self, name: str, hours: Iterable[int], first: int, last: int) -> None:
        """Replace those of `[first, last)`."""
        new = {hour for hour in hours if first <= hour < last}
        old = self.hours(name, first, last)
        if old - new:
            query = "DELETE FROM exd.hours WHERE source = ? AND list_contains(?, hour)"
            self.connection.execute(query, [name, sorted(old - new)])
        insert_rows(self.connection, "exd.hours", [(name, hour) for hour in sorted(new - old)])


def _parts(flag: FlagId) -> tuple[str, str, str]:
    return flag.namespace, flag.environment, flag.key
