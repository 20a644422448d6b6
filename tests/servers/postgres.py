"""A real PostgreSQL server on this machine, in a zone far from UTC, with tables made of frames."""

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

_KINDS = {"string": "TEXT", "timestamp('UTC')": "TIMESTAMPTZ", "int64": "BIGINT", "boolean": "BOOLEAN"}
"""Of other types the name is PostgreSQL's own."""


@dataclass(frozen=True)
class Postgres:
    """A running server; `load` makes a table anew."""

    port: int

    @property
    def address(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "user": "postgres"}

    def load(self, table: str, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
        """Write a frame as a table; `columns` are Ibis types by name, and those it lacks are left out."""
        import psycopg

        kinds = {name: _KINDS.get(kind, kind) for name, kind in columns.items() if name in frame}
        declared = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
        marks = ", ".join(["%s"] * len(kinds))
        log = frame[list(kinds)].astype(object)
        rows = log.where(log.notna(), None).to_numpy().tolist()
        with psycopg.connect(**self.address, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(f'DROP TABLE IF EXISTS "{table}"')
            cursor.execute(f'CREATE TABLE "{table}" ({declared})')
            cursor.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)

    def connected(self, database: str) -> Any:
        """Return a connection to a database; what it did is committed when its block ends."""
        import psycopg

        return psycopg.connect(**self.address, dbname=database)

    def create(self, database: str) -> str:
        """Make a database and return its address."""
        import psycopg

        with psycopg.connect(**self.address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def backend(self) -> Any:
        """Return an Ibis backend that is connected to it."""
        import ibis

        return ibis.postgres.connect(**self.address, database="postgres")


@contextmanager
def running() -> Iterator[Postgres]:
    """Start a server and stop it on exit; skip the test where none can be started."""
    pytest.importorskip("psycopg")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        _as_postgres("chown", str(home), user="root")
        _as_postgres("initdb", "-D", f"{home}/data", "-A", "trust", "-U", "postgres")
        options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c timezone=America/St_Johns"
        _as_postgres("pg_ctl", "-D", f"{home}/data", "-w", "-o", options, "-l", f"{home}/log", "start")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no PostgreSQL server can be started: {error}")
    try:
        yield Postgres(port)
    finally:
        _as_postgres("pg_ctl", "-D", f"{home}/data", "-m", "immediate", "stop")


def _as_postgres(*command: str, user: str = "postgres") -> None:
    if command[0] == "chown":
        command = ("chown", "-R", "postgres", command[1])
    line = ["runuser", "-u", user, "--", *command] if user != "root" else list(command)
    subprocess.run(line, check=True, capture_output=True, cwd="/")
