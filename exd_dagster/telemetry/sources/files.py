"""Paths, globs and URLs to files: listing and opening."""

import glob
import gzip
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from errno import ENAMETOOLONG
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any

import duckdb
from pydantic import BeforeValidator

from exd_dagster.errors import ExtensionError, RecordsError

_STEPS = (("%H", timedelta(hours=1)), ("%d", timedelta(days=1)), ("%m", timedelta(days=28)))
_CODES = ("%Y", "%m", "%d", "%H")
MOST_STEPS = 5000
"""Hours, days or months of a window that are listed one by one; of more, every file is listed."""


def path_text(path: object) -> Any:
    """Return a path as text, read from the environment where it is a `dagster.EnvVar`.

    Raises:
        ValueError: when the environment variable is not set.
    """
    if hasattr(path, "env_var_name"):
        value = os.environ.get(path.env_var_name)
        if not value:
            raise ValueError(
                f"the environment variable {path.env_var_name} is not set; set it where this runs"
            )
        return value
    return os.fspath(path) if isinstance(path, os.PathLike) else path


PathText = Annotated[str, BeforeValidator(path_text)]
"""A path in a configuration; see `path_text`."""


def list_files(
    connection: duckdb.DuckDBPyConnection, patterns: Sequence[str], start: datetime, end: datetime
) -> list[str]:
    """Return the files that match, sorted, each once.

    Args:
        connection: gets the fsspec file system of a URL registered, unless DuckDB's own is loaded.
        patterns: paths or globs; %Y, %m, %d and %H are filled in for every hour of `[start, end)`.
        start: first instant of interest (UTC).
        end: end of it.

    Raises:
        RecordsError: when no file matches.
    """
    files: set[str] = set()
    expanded = [path for pattern in patterns for path in _dated(pattern, start, end)]
    for path in expanded:
        with _listing_errors(path):
            files.update(_remote(connection, path) if "://" in path else _local(path))
    if not files:
        shown = ", ".join(expanded[:3]) + (", ..." if len(expanded) > 3 else "")
        fix = next(filter(None, map(_folder_fix, expanded)), "correct path=, or wait for the files to land")
        raise RecordsError(f"no file matches {shown}; {fix}")
    return sorted(files)


@contextmanager
def _listing_errors(path: str) -> Iterator[None]:
    """Say of whatever a file system raises while it lists which path it is about."""
    try:
        yield
    except RecordsError:
        raise
    except Exception as error:  # file systems raise errors of their own libraries
        where = path if len(path) <= 300 else f"{path[:150]}...{path[-100:]}"
        fix = "give a shorter path" if getattr(error, "errno", 0) == ENAMETOOLONG else "correct path="
        if "://" in path:
            fix = "correct the URL, or what gives access to it (credentials, region, endpoint)"
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RecordsError(f"{where} cannot be listed: {reason}; {fix}") from error


def _folder_fix(path: str) -> str | None:
    """Return what to say of a path that is a folder, or begins with ~."""
    if path.startswith("~"):
        return f"~ is not expanded, write {Path(path).expanduser()}"
    with suppress(OSError, ValueError):
        if Path(path).is_dir():
            return f"it is a folder, write {Path(path) / '**' / '*.parquet'} for the Parquet files in it"
    return None


def _dated(pattern: str, start: datetime, end: datetime) -> list[str]:
    step = next((step for code, step in _STEPS if code in pattern), None)
    if step is None and "%Y" not in pattern:
        return [pattern]
    step = step or timedelta(days=365)
    if (end - start) / step > MOST_STEPS:  # a window without bounds: one listing is cheaper than so many
        for code in _CODES:
            pattern = pattern.replace(code, "*")
        return [pattern]
    instants = [start]
    while instants[-1] + step < end:
        instants.append(instants[-1] + step)
    return list(dict.fromkeys(at.strftime(pattern) for at in (*instants, end - timedelta(microseconds=1))))


def _local(path: str) -> list[str]:
    if Path(path).is_file():
        return [path]
    found = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [name for name in found if not _is_hidden(name, path) and Path(name).is_file()]


def _is_hidden(name: str, pattern: str) -> bool:
    """Return whether a file is one of those that Spark and Hive pass over, or lies in such a folder."""
    # `_SUCCESS`, `_temporary/`, `_delta_log/` and `.part.crc` hold no records; `_dt=2026-03-01` is a
    # partition. What the pattern itself names is meant.
    parts, named = PurePosixPath(name).parts, set(PurePosixPath(pattern).parts)
    return any(
        part.startswith((".", "_")) and "=" not in part and part not in named and part not in (".", "..")
        for part in parts
    )


def _remote(connection: duckdb.DuckDBPyConnection, url: str) -> list[str]:
    if url.startswith(("s3://", "http://", "https://")) and _own_extension(connection):
        rows = connection.execute("SELECT file FROM glob(?)", [url]).fetchall()
        return [file for (file,) in rows if not _is_hidden(file, url)]
    file_system, path = _file_system(url)
    protocol = file_system.protocol
    protocol = protocol if isinstance(protocol, str) else protocol[0]
    if protocol not in connection.list_filesystems():
        connection.register_filesystem(file_system)
    if glob.has_magic(path):
        found = [name for name in file_system.glob(path) if not _is_hidden(name, path)]
    else:
        found = [path] * file_system.exists(path)
    return [str(file_system.unstrip_protocol(name)) for name in found]


def _own_extension(connection: duckdb.DuckDBPyConnection) -> bool:
    query = "SELECT count(*) FROM duckdb_extensions() WHERE extension_name = 'httpfs' AND loaded"
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        file_system, path = url_to_fs(url)
    except ImportError as error:
        scheme = url.split("://", maxsplit=1)[0]
        extra = "s3fs" if scheme == "s3" else f"fsspec and its package for {scheme}://"
        raise ExtensionError(
            f"{url} needs a package that is not installed ({error}); install {extra}"
        ) from error
    except ValueError as error:
        raise RecordsError(f"{url} is not a URL that fsspec can open: {error}") from error
    return file_system, path


def open_raw(path: str) -> AbstractContextManager[IO[bytes]]:
    """Open one file as it is."""
    if "://" not in path:
        return Path(path).open("rb")
    file_system, inner = _file_system(path)
    opened: AbstractContextManager[IO[bytes]] = file_system.open(inner, "rb")
    return opened


def file_marks(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, str]:
    """Return a mark for each file that changes with it: size and time, or the tag of an object store.

    A file that was removed since it was listed has none.

    Args:
        connection: reads the attributes of objects where its own `httpfs` lists them.
        files: paths or URLs, as listed.
    """
    marks = {}
    for file in files:
        if "://" not in file:
            with suppress(FileNotFoundError):
                found = Path(file).stat()
                marks[file] = f"{found.st_size} {found.st_mtime_ns}"
        elif _own_extension(connection) and file.startswith(("s3://", "http://", "https://")):
            query = "SELECT size, last_modified FROM read_blob(?)"
            marks[file] = " ".join(map(str, connection.execute(query, [file]).fetchone() or ()))
        else:
            file_system, path = _file_system(file)
            with suppress(FileNotFoundError):
                known = file_system.info(path)
                tags = ("ETag", "etag", "mtime", "LastModified")
                tag = next((known[name] for name in tags if name in known), "")
                marks[file] = f"{known.get('size')} {tag}"
    return marks


def is_gzip(path: str) -> bool:
    """Return whether a file is compressed, by the ending of its name."""
    return path.lower().endswith(".gz")


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Open one file for reading its lines, decompressed when its name ends in .gz.

    Raises:
        RecordsError: for a name that ends in .gz of what is not compressed, without the name.
    """
    with open_raw(path) as raw:
        if is_gzip(path):
            if raw.read(2) not in (b"", b"\x1f\x8b"):
                raise RecordsError("it is not compressed by gzip; let its name not end in .gz")
            raw.seek(0)
            with gzip.open(raw) as plain:
                yield plain  # type: ignore[misc]
        else:
            yield raw


def is_sqlite(path: str) -> bool:
    """Return whether a file is a database of SQLite, which DuckDB would fetch an extension for."""
    with suppress(OSError, ValueError), Path(path).open("rb") as opened:
        return opened.read(16) == b"SQLite format 3\0"
    return False
