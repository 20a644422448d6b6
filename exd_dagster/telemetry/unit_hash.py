"""The hash by which the store knows a unit again: one function, whichever version of DuckDB is installed.

It is what `hash` of DuckDB 1.4 to 2.0 gives, written down here, so that a store outlives a version that
gives something else: where `hash` still agrees it is used, at no cost, and elsewhere this file counts.

All arithmetic is modulo 2^64. A whole number is mixed as in `mix`; a text is folded in blocks of eight bytes
and mixed at the end (DuckDB, src/common/types/hash.cpp).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

_FACTOR = 0xD6E8FEB86659FD93
_TEXT_START = 0xE17A1465
_TEXT_LENGTH = 0xC6A4A7935BD1E995
_ALL = (1 << 64) - 1
_SHIFT = np.uint64(32)

Hashes: TypeAlias = npt.NDArray[np.uint64]

NATIVE = "hash"
OURS = "exd_hash"
"""The SQL function that replaces `hash` of a text; with `_seeded`, for that of a number and a seed."""

_SAMPLES = ("", "a", "unit-1", "12345678", "twelve bytes", "thirteen byte", "Ünït-✓-\U0001f680", "x" * 100)
"""Texts of every length that DuckDB treats apart: none, within a block, whole blocks, inlined or not."""


def mix(value: int) -> int:
    """Return the hash of a whole number of 64 bits."""
    for _ in range(2):
        value = ((value ^ (value >> 32)) * _FACTOR) & _ALL
    return value ^ (value >> 32)


def hash_text(text: str) -> int:
    """Return the hash of a text, over its UTF-8 bytes."""
    data = text.encode()
    folded = _TEXT_START ^ (len(data) * _TEXT_LENGTH & _ALL)
    for start in range(0, len(data), 8):
        block = int.from_bytes(data[start : start + 8], "little")
        folded = ((folded ^ block) * _FACTOR) & _ALL
    return mix(folded)


def hash_seeded(value: int, seed: int) -> int:
    """Return the hash of a whole number and a seed, both of 64 bits."""
    return combine(mix(value), mix(seed))


def combine(first: int, second: int) -> int:
    """Combine two hashes."""
    return (((first ^ (first >> 32)) * _FACTOR) & _ALL) ^ second


def hash_function(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the SQL function of this connection that hashes as defined here: `hash`, or one made here.

    Args:
        connection: open; if `hash` differs, `exd_hash` and `exd_hash_seeded` are made in it.
    """
    if hashes_natively(connection):
        return NATIVE
    made = "SELECT count(*) FROM duckdb_functions() WHERE function_name = ?"
    if connection.execute(made, [OURS]).fetchall() == [(0,)]:
        _make_functions(connection)
    return OURS


def hashes_natively(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return True where DuckDB's own `hash` gives what this file gives."""
    seed = 0x0123456789ABCDEF
    rows = connection.execute(
        f"SELECT hash(t), hash(hash(t), {seed}::UBIGINT) FROM (SELECT unnest(?) AS t)", [list(_SAMPLES)]
    ).fetchall()
    wanted = [(hash_text(text), hash_seeded(hash_text(text), seed)) for text in _SAMPLES]
    return rows == wanted


def seeded_sql(function: str, value: str, seed: int) -> str:
    """Return SQL for the hash of a whole number and a seed by one of the functions above."""
    return f"{function if function == NATIVE else OURS + '_seeded'}({value}, {seed}::UBIGINT)"


def _make_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions; without pyarrow they work on single values, which is about ten times slower."""
    # They belong to the database, which other connections share and which may outlive this one. DuckDB
    # keeps no reference to them beyond this connection, so they must be functions of this module.
    number, text = duckdb.type("UBIGINT"), duckdb.type("VARCHAR")
    arrow = find_spec("pyarrow") is not None
    kind: Any = "arrow" if arrow else "native"
    texts, seeded = (_hash_arrow_texts, _hash_arrow_numbers) if arrow else (hash_text, hash_seeded)
    connection.create_function(OURS, texts, [text], number, type=kind)
    connection.create_function(f"{OURS}_seeded", seeded, [number, number], number, type=kind)


def _hash_arrow_texts(column: Any) -> Any:
    import pyarrow as pa

    # large offsets: a chunk may have more than 2 GiB of text
    whole = pa.concat_arrays(column.cast(pa.large_binary()).chunks)
    _, offsets, data = whole.buffers()
    edges = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + len(whole) + 1]
    return pa.array(hash_bytes(np.frombuffer(data or b"", np.uint8), edges))


def _hash_arrow_numbers(values: Any, seeds: Any) -> Any:
    import pyarrow as pa

    return pa.array(hash_numbers(values.to_numpy(), seeds.to_numpy()))


_KEPT = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""Masks that keep so many bytes of a block."""


def hash_bytes(data: npt.NDArray[np.uint8], edges: Sequence[int] | npt.NDArray[np.int64]) -> Hashes:
    """Return `hash_text` of many texts.

    Args:
        data: their UTF-8 bytes, one text after the other.
        edges: start of each in `data`, then the end of the last one.
    """
    edges = np.asarray(edges, np.int64)
    starts, lengths = edges[:-1], np.diff(edges)
    padded = np.append(data, np.zeros(8, np.uint8))
    folded = np.uint64(_TEXT_START) ^ (lengths.astype(np.uint64) * np.uint64(_TEXT_LENGTH))
    blocks = np.ndarray((len(data) + 1,), "<u8", padded, strides=(1,))  # one from every byte on
    for start in range(0, int(lengths.max(initial=0)), 8):
        some = np.flatnonzero(lengths > start)
        block = blocks[starts[some] + start] & _KEPT[np.minimum(lengths[some] - start, 8)]
        folded[some] = (folded[some] ^ block) * np.uint64(_FACTOR)
    return _mix_all(folded)


def hash_numbers(values: Hashes, seeds: Hashes) -> Hashes:
    """Return `hash_seeded` of many whole numbers and seeds."""
    mixed = _mix_all(values)
    hashes: Hashes = ((mixed ^ (mixed >> _SHIFT)) * np.uint64(_FACTOR)) ^ _mix_all(seeds)
    return hashes


def _mix_all(values: Hashes) -> Hashes:
    for _ in range(2):
        values = (values ^ (values >> _SHIFT)) * np.uint64(_FACTOR)
    hashes: Hashes = values ^ (values >> _SHIFT)
    return hashes
