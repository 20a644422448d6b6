"""What the store records of logs and flags: numbers, definitions, ranks, watermarks."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb

from exd_dagster.bins.counting.audience import RANKS, definition
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.rows import insert_rows
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
        rows = self.connection.execute(f"SELECT {columns} FROM exd_flags").fetchall()
        return {FlagId(*row[:3]): StoredFlag(*row[3:]) for row in rows}

    def save_flags(self, source: str, counted: Collection[tuple[int, FlagAudit, int]]) -> None:
        """Write down flags, by number, that were counted from a log through an hour."""
        rows = [
            (number, source, *flag.id.columns.values(), json.dumps(definition(flag)), through, False)
            for number, flag, through in counted
        ]
        self._delete("flags", [number for number, *_ in counted])
        insert_rows(self.connection, "exd_flags", rows)

    def forget_units(self, numbers: Collection[int]) -> None:
        """Drop stored first exposures; the bins remain until they are replaced."""
        for table in ("units", "variants", "scopes", "prints"):
            self._delete(table, numbers)
        query = "UPDATE exd_stated SET flag = NULL WHERE list_contains(?, flag)"
        self.connection.execute(query, [list(numbers)])

    def _delete(self, table: str, numbers: Collection[int]) -> None:
        if numbers:
            listed = ", ".join(map(str, numbers))
            self.connection.execute(f"DELETE FROM exd_{table} WHERE flag IN ({listed})")

    def drop_ended_units(self, before: int) -> tuple[FlagId, ...]:
        """Drop the units of flags whose end (ms) is earlier and was read, and return the flags."""
        ended = {}
        for flag, known in self.flags().items():
            end = json.loads(known.definition)["end"]
            if end is not None and end < before and end <= known.read_through * HOUR_MS and not known.retired:
                ended[flag] = known.number
        self.forget_units(ended.values())
        query = "UPDATE exd_flags SET retired = true WHERE list_contains(?, flag)"
        self.connection.execute(query, [list(ended.values())])
        return tuple(ended)

    def scopes(self) -> dict[int, set[tuple[str, str]]]:
        """Return namespace and environment of every record counted, by number of the flag."""
        scopes: dict[int, set[tuple[str, str]]] = defaultdict(set)
        rows = self.connection.execute("SELECT flag, namespace, environment FROM exd_scopes").fetchall()
        for number, namespace, environment in rows:
            scopes[number].add((namespace, environment))
        return scopes

    def save_scopes(self, scopes: Mapping[int, Collection[tuple[str, str]]]) -> None:
        """Replace those of these flags."""
        self._delete("scopes", scopes.keys())
        rows = [(number, *scope) for number, found in scopes.items() for scope in sorted(found)]
        insert_rows(self.connection, "exd_scopes", rows)

    def ranks(self) -> dict[int, dict[str, int]]:
        """Return the rank of every variant, by number of the flag."""
        ranks: dict[int, dict[str, int]] = defaultdict(dict)
        rows = self.connection.execute(
            "SELECT flag, variant, rank FROM exd_variants ORDER BY rank"
        ).fetchall()
        for number, variant, rank in rows:
            ranks[number][variant] = rank
        return ranks

    def save_ranks(self, ranks: Mapping[int, Mapping[str, int]]) -> None:
        """Replace those of these flags, and move stored exposures with the ranks of known variants."""
        stored = self.ranks()
        changed = {number: new for number, new in ranks.items() if new != stored[number]}
        self._delete("variants", changed.keys())
        rows = [(number, name, rank) for number, new in changed.items() for name, rank in new.items()]
        insert_rows(self.connection, "exd_variants", rows)
        moved = [
            (number, rank, new[name])
            for number, new in changed.items()
            for name, rank in stored[number].items()
            if rank != new[name]
        ]
        if moved:
            self._move_ranks(moved)

    def _move_ranks(self, moved: Collection[tuple[int, int, int]]) -> None:
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_moved (number INTEGER, old BIGINT, new BIGINT)"
        )
        insert_rows(self.connection, "exd_moved", moved)
        for column in ("first", "other"):
            self.connection.execute(
                f"UPDATE exd_units SET {column} = {column} - old + new FROM exd_moved "
                f"WHERE flag = number AND {column} % {RANKS} = old"
            )
        self.connection.execute("DROP TABLE exd_moved")

    def dimensions(self) -> dict[int, dict[str, int]]:
        """Return the dimensions of every flag with the first hour they are counted from, by its number."""
        found: dict[int, dict[str, int]] = defaultdict(dict)
        for number, name, since in self.connection.execute("FROM exd_dimensions ORDER BY ALL").fetchall():
            found[number][name] = since
        return found

    def source(self, name: str) -> StoredSource | None:
        """Return what is known of a log."""
        query = "SELECT watermark, closed_through FROM exd_sources WHERE source = ?"
        row = self.connection.execute(query, [name]).fetchone()
        return StoredSource(*row) if row else None

    def save_source(self, name: str, source: StoredSource) -> None:
        """Write it down."""
        self.connection.execute("DELETE FROM exd_sources WHERE source = ?", [name])
        values = [name, source.watermark, source.closed_through]
        self.connection.execute("INSERT INTO exd_sources VALUES (?, ?, ?)", values)

    def files(self, name: str) -> list[tuple[str, str, int | None]]:
        """Return file, mark and first hour of each file of a log as it was last read."""
        query = "SELECT file, mark, first FROM exd_files WHERE source = ?"
        return self.connection.execute(query, [name]).fetchall()

    def hours(self, name: str) -> dict[int, int]:
        """Return how many records a log has in every hour that has any; 0 where that is not known."""
        query = "SELECT hour, coalesce(records, 0) AS records FROM exd_hours WHERE source = ?"
        found = self.connection.execute(query, [name]).fetchnumpy()
        return dict(zip(found["hour"].tolist(), found["records"].tolist(), strict=True))

    def save_hours(self, name: str, hours: Mapping[int, int], first: int, last: int) -> None:
        """Replace the records by hour of `[first, last)`."""
        new = {hour: records for hour, records in hours.items() if first <= hour < last}
        old = {hour: records for hour, records in self.hours(name).items() if first <= hour < last}
        gone = sorted(hour for hour, records in old.items() if new.get(hour) != records)
        if gone:
            query = "DELETE FROM exd_hours WHERE source = ? AND list_contains(?, hour)"
            self.connection.execute(query, [name, gone])
        added = [(name, hour, records) for hour, records in sorted(new.items()) if old.get(hour) != records]
        insert_rows(self.connection, "exd_hours", added)
