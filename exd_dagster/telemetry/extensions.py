"""DuckDB's extensions, from installed packages or from DuckDB's own site; access to object storage."""

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import duckdb

from exd_dagster.errors import ExtensionError
from exd_dagster.telemetry.records import literal

STORAGES = {"httpfs": ("s3:", "gs:", "gcs:", "r2:", "http:", "https:"), "azure": ("az:", "azure:", "abfss:")}
"""Extensions that read object storage, and the beginnings of the URLs they read."""


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension: the one of the package `duckdb-extension-<name>`, one installed, or one fetched now.

    Raises:
        ExtensionError: when there is none for this DuckDB, with what to install.
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
        raise ExtensionError(
            f"DuckDB {duckdb.__version__} lacks its extension {name}, which is needed here "
            f"({str(error).splitlines()[0]}); install {package}=={duckdb.__version__} (where the registry "
            f"has no such version, the newest {package} with the duckdb of the same version), or let this "
            "machine reach extensions.duckdb.org"
        ) from error


def _packaged(name: str) -> Path | None:
    """Return the file of the installed package, if it is of this version of DuckDB."""
    found = find_spec(f"duckdb_extension_{name}")
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.is_file():
            return file
    return None


def reach_storage(connection: duckdb.DuckDBPyConnection, url: str, *, secrets: bool = True) -> None:
    """Let a connection read and write below a URL of object storage; a path of a file needs nothing.

    Args:
        connection: gets the extension, and for S3 a secret unless it has one for the URL.
        url: such as `s3://bucket/folder`.
        secrets: False where secrets were made for it already.

    Raises:
        ExtensionError: when an extension is missing.
    """
    for extension, schemes in STORAGES.items():
        if url.startswith(schemes):
            load_extension(connection, extension)
    if not url.startswith("s3:") or not secrets:
        return
    known = connection.execute("SELECT name FROM which_secret(?, 's3')", [url]).fetchall()
    if known in ([], [(_NAME,)]):
        connection.execute(_secret_of_environment(connection))


_NAME = "exd_s3"


def _secret_of_environment(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the secret for S3: of the usual environment variables, else of the chain of the AWS SDK."""
    found = os.environ.get
    region = found("AWS_REGION") or found("AWS_DEFAULT_REGION")
    values = {"REGION": region} if region else {}
    if found("AWS_ACCESS_KEY_ID"):
        values |= {"KEY_ID": found("AWS_ACCESS_KEY_ID", ""), "SECRET": found("AWS_SECRET_ACCESS_KEY", "")}
        if token := found("AWS_SESSION_TOKEN"):
            values["SESSION_TOKEN"] = token
    else:
        load_extension(connection, "aws")
        values["PROVIDER"] = "credential_chain"
    if endpoint := found("AWS_ENDPOINT_URL_S3") or found("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.rpartition("://")
        values |= {"ENDPOINT": host.rstrip("/"), "URL_STYLE": "path"}
        values |= {"USE_SSL": "false"} if scheme == "http" else {}
    listed = ", ".join(f"{name} {literal(value)}" for name, value in values.items())
    return f"CREATE OR REPLACE SECRET {_NAME} (TYPE s3, {listed})"
