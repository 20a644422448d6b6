"""What every place of a bin store can do, and the place behind an address."""

from os import PathLike, fspath
from typing import Protocol

import duckdb

from exd_dagster.bins.places.file import FilePlace
from exd_dagster.bins.places.lake import LAKE, LakePlace


class Place(Protocol):
    """Where a bin store is."""

    @property
    def address(self) -> str:
        """The place as people name it, without passwords."""

    def connect(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """Open it; the caller closes the connection.

        Raises:
            StoreError: when it cannot be opened, with the fix.
        """

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        """Attach it to an open connection; return database and schema as SQL.

        Raises:
            StoreError: when it cannot be opened, with the fix.
        """

    def page(self, name: str) -> str:
        """Return path or URL of a page that lies beside the store."""


def place_at(address: str | PathLike[str], *, data_path: str = "", schema: str = "") -> Place:
    """Return the place behind an address.

    Args:
        address: path of a DuckDB file, `md:<database>` of MotherDuck, or `ducklake:<catalog>` of a lake.
        data_path: folder or URL of the data of a lake; needed only to make one.
        schema: schema of the store in a lake; "": main.
    """
    place = fspath(address)
    if place.startswith(LAKE):
        return LakePlace(place.removeprefix(LAKE), data_path, schema or "main")
    return FilePlace(place)
