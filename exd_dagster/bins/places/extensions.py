"""DuckDB's extensions, from installed packages or from DuckDB's own site."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import duckdb

from exd_dagster.errors import StoreError
from exd_dagster.telemetry.records import literal


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension: the one of the package `duckdb-extension-<name>`, one installed, or one fetched now.

    Raises:
        StoreError: when there is none for this DuckDB, with what to install.
    """
    query = "SELECT loaded FROM duckdb_extensions() WHERE extension_name = ?"
    if connection.execute(query, [name]).fetchall() == [(True,)]:
        return
    try:
        packaged = _packaged(name)
        if packaged is not None:
            connection.execute(f"LOAD {literal(str(packaged))}")
            return
        with suppress(duckdb.Error):
            connection.execute(f"LOAD {name}")
            return
        connection.execute(f"INSTALL {name}; LOAD {name}")
    except duckdb.Error as error:
        package = f"duckdb-extension-{name.replace('_', '-')}"
        raise StoreError(
            f"DuckDB {duckdb.__version__} lacks its extension {name}, which this store needs "
            f"({str(error).splitlines()[0]}); install {package}=={duckdb.__version__} (where the registry "
            f"has no such version, the newest {package} with the duckdb of the same version), or let this "
            " machine reach extensions.duckdb.org"
        ) from error


def _packaged(name: str) -> Path | None:
    """Return the file of the installed package, if it is of this version of DuckDB."""
    found = find_spec(f"duckdb_extension_{name}")
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.is_file():
            return file
    return None
