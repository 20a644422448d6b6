"""The tables of the store: created on first use, checked on every later one.

exd_meta     format of the tables, seed of the unit hashes, a hash that detects a store of another hash
function
             (probe), and the number of updates: every update changes it first, so that two concurrent
             ones cannot both commit
exd_sources  each log: its watermark (ms) and the hour through which its bins are closed
exd_prints   per flag and hour: a fingerprint of the records it was counted from; see `fingerprints`
exd_hours    hours (since 1970) in which a log has any record, and how many it has
exd_files    each file of a log when it was last read, and the first hour of its records
exd_flags    each audited flag: what was counted (definition), through which hour, and whether its
             units were dropped since (retired)
exd_scopes   namespaces and environments a flag was seen in
exd_variants the rank of each variant of a flag, in order of name
exd_units    per flag, phase and unit: the first exposure, and the first one to another variant
exd_bins     per flag, hour and variant: the counts
exd_facts    per flag and hour: further counts
exd_dimensions  per flag, the dimensions its units are counted by, and the first such hour (since)
exd_segments per flag, hour, dimension, value and variant: units first exposed there
exd_states   per log and stage: the tables of its engine that hold first exposures (see `engine.state`)
exd_stated   which flags are in them, by the hash of their scope; flag is NULL for one that was forgotten
exd_unmatched  names in a flag's configuration that are not in its log, with the nearest name in it
exd_carried  per flag, the states from which its checks go on; see `audit.carried_table`, which makes it

flag_bins    a view for people: the closed hours of exd_bins, with names and instants instead of numbers
"""

import secrets

import duckdb

from exd_dagster.bins.places.lake import without_password
from exd_dagster.bins.places.turns import current, transaction
from exd_dagster.bins.rows import has_rows
from exd_dagster.errors import StoreError
from exd_dagster.telemetry.unit_hash import combine, hash_text, mix

FORMAT = 5

_TABLES = """
CREATE TABLE exd_meta (format INTEGER, seed UBIGINT, probe UBIGINT, updates BIGINT);
CREATE TABLE exd_sources (source VARCHAR, watermark BIGINT, closed_through BIGINT);
CREATE TABLE exd_hours (source VARCHAR, hour BIGINT);
CREATE TABLE exd_flags (flag INTEGER, source VARCHAR, namespace VARCHAR, environment VARCHAR, key VARCHAR,
    definition VARCHAR, read_through BIGINT, retired BOOLEAN);
CREATE TABLE exd_scopes (flag INTEGER, namespace VARCHAR, environment VARCHAR);
CREATE TABLE exd_variants (flag INTEGER, variant VARCHAR, rank BIGINT);
CREATE TABLE exd_units (flag INTEGER, phase INTEGER, unit UBIGINT, first BIGINT, other BIGINT);
CREATE TABLE exd_bins (flag INTEGER, hour BIGINT, variant VARCHAR, new_units BIGINT, units BIGINT,
    evaluations BIGINT, multi_variant_units BIGINT, carry_over_units BIGINT);
CREATE TABLE exd_facts (flag INTEGER, hour BIGINT, name VARCHAR, detail VARCHAR, count BIGINT);
"""
_VIEW = """
CREATE OR REPLACE VIEW flag_bins AS
    SELECT namespace, environment, key AS flag_key, to_timestamp(hour * 3600) AS hour, variant,
        new_units, units, evaluations
    FROM exd_bins JOIN exd_flags USING (flag) JOIN exd_sources USING (source)
    WHERE hour < least(closed_through, read_through);
"""
_FORMAT_2 = """
CREATE TABLE exd_prints (flag INTEGER, hour BIGINT, records BIGINT, hashes HUGEINT);
"""
_FORMAT_2 += _VIEW
"""What format 2 adds to format 1."""
_FORMAT_3 = """
ALTER TABLE exd_hours ADD COLUMN IF NOT EXISTS records BIGINT;
CREATE TABLE IF NOT EXISTS exd_unmatched (flag INTEGER, place VARCHAR, name VARCHAR, nearest VARCHAR,
    records BIGINT);
CREATE TABLE IF NOT EXISTS exd_files (source VARCHAR, file VARCHAR, mark VARCHAR, first BIGINT);
"""
"""What format 3 adds; the records of hours read before are not known until these are read again."""

_FORMAT_4 = """
CREATE TABLE IF NOT EXISTS exd_dimensions (flag INTEGER, dimension VARCHAR, since BIGINT);
CREATE TABLE IF NOT EXISTS exd_segments (flag INTEGER, hour BIGINT, dimension VARCHAR, value VARCHAR,
    variant VARCHAR, new_units BIGINT);
"""
"""What format 4 adds; hours counted before have no segments until the flag is counted again."""

_FORMAT_5 = """
CREATE TABLE IF NOT EXISTS exd_states (source VARCHAR, stage VARCHAR, place VARCHAR, base VARCHAR,
    delta VARCHAR, base_rows BIGINT, delta_rows BIGINT, ranks VARCHAR);
CREATE TABLE IF NOT EXISTS exd_stated (source VARCHAR, stage VARCHAR, flag INTEGER, scope BIGINT);
"""
"""What format 5 adds; engines keep nothing until a log has a `state_schema`."""

_ADDED = {2: _FORMAT_2, 3: _FORMAT_3, 4: _FORMAT_4, 5: _FORMAT_5}


def ensure_schema(connection: duckdb.DuckDBPyConnection) -> int:
    """Create or check the tables and return the seed of the unit hashes.

    Raises:
        StoreError: when the store was written by a newer version, its hashes cannot be continued, or the
            database has an object of another program under a name of these tables.
    """
    try:
        return _make_or_check(connection)
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise StoreError(
            f"{_place(connection)} has an object of another program under a name that the bin store uses: "
            f"{str(error).splitlines()[0]}\nNothing was changed; give the bin store a file of its own, or "
            "rename what is there"
        ) from error


def make_view(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the view for people over tables that are there."""
    connection.execute(_VIEW)


def _place(connection: duckdb.DuckDBPyConnection) -> str:
    path = without_password(current(connection).path)
    return f"the bin store {path}" if path else "the bin store in memory"


def _make_or_check(connection: duckdb.DuckDBPyConnection) -> int:
    here = "database_name = current_database() AND schema_name = current_schema()"
    if not has_rows(connection, f"duckdb_tables() WHERE table_name = 'exd_meta' AND {here}"):
        return _make(connection)
    _migrate(connection)
    row = connection.execute("SELECT format, seed, probe FROM exd_meta").fetchone()
    if row is None or row[0] != FORMAT:
        found = row[0] if row else "none"
        raise StoreError(
            f"{_place(connection)} has format {found}, this version of exd_dagster reads {FORMAT}; "
            "install the version that wrote it or newer, or give a new store and materialize the bins again"
        )
    seed = int(row[1])
    if _probe(seed) != row[2]:
        raise StoreError(
            f"{_place(connection)} was written with the hash of a DuckDB before 1.4, so its units cannot be "
            "recognised; give a new store and materialize the bins again"
        )
    return seed


def _probe(seed: int) -> int:
    """Return `hash('exd', seed)`, which differs in a store of another hash function."""
    return combine(hash_text("exd"), mix(seed))


def _make(connection: duckdb.DuckDBPyConnection) -> int:
    seed = secrets.randbits(64)
    first = f"INSERT INTO exd_meta SELECT {FORMAT}, {seed}, {_probe(seed)}, 0"
    with transaction(connection):
        connection.execute(f"{_TABLES} {' '.join(_ADDED.values())} {first}")
    return seed


def _migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Migrate a store of an earlier format in place."""
    ((found,),) = connection.execute("SELECT coalesce(max(format), 0) FROM exd_meta").fetchall()
    missing = [added for number, added in _ADDED.items() if 0 < found < number]
    if missing:
        with transaction(connection):
            connection.execute(f"{' '.join(missing)} UPDATE exd_meta SET format = {FORMAT}")
