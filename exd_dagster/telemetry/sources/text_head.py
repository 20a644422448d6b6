"""What the start of a text file says: that it is no text, how its JSON is laid out, where its header is."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.files import is_gzip, open_bytes

Layout: TypeAlias = Literal["newline_delimited", "marked", "array", "unstructured"]
"""JSON by lines, by lines after a byte order mark, in one array, or one object after another."""

BOM = b"\xef\xbb\xbf"
_PACKED = (
    (b"\x1f\x8b", "it is compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd"),
    (b"BZh", "it is compressed by bzip2"),
    (b"PK\x03\x04", "it is a zip archive or an Excel workbook"),
)
_WIDE = "it is not UTF-8 text; convert it, for example with iconv -f UTF-16 -t UTF-8"
_LONGEST_PRELUDE = 100
"""Lines before the header of a CSV that are looked through."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a CSV file, "" in one without, and how many lines come before it."""

    text: str
    skip: int


def refuse_foreign(file: str, start: bytes) -> None:
    """Refuse the content of a file that is no UTF-8 text, with what it is instead.

    Args:
        file: its path or URL.
        start: how its content begins, decompressed where the name ends in .gz.

    Raises:
        RecordsError: without the name of the file.
    """
    if start.startswith(b"PAR1"):
        raise RecordsError("it is a Parquet file; read it with ParquetRecords")
    if what := _packed(start):
        if what.endswith("gzip"):
            fix = " twice; unpack it once" if is_gzip(file) else "; let its name end in .gz"
        else:
            fix = (
                "; unpack it, or save it as CSV"
                if "archive" in what
                else "; unpack it, or compress it by gzip"
            )
        raise RecordsError(what + fix)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4]:
        raise RecordsError(_WIDE)


def _packed(start: bytes) -> str:
    return next((what for magic, what in _PACKED if start.startswith(magic)), "")


def not_parquet(start: bytes) -> str:
    """Return what a file is that should be Parquet, and the fix; "" where that is unknown.

    Args:
        start: how it begins.
    """
    if what := _packed(start):
        return f"{what}; unpack it"
    if start.startswith(b"PAR1"):
        return "it ends before its footer; write or copy it again"
    if start[:1] in (b"{", b"["):
        return 'it is JSON; read it with FileRecords(path=..., format="ndjson")'
    if start and b"\0" not in start and b"," in start.split(b"\n", 1)[0] and start.isascii():
        return 'it is text; read it with FileRecords(path=..., format="csv")'
    return "" if start else "it is empty; write it again"


def csv_head(file: str) -> Header:
    """Return the header of a CSV file: blank lines and the `sep=;` of Excel come before it.

    Raises:
        RecordsError: for content that is no text, without the name of the file.
    """
    with open_bytes(file) as lines:
        for skip in range(_LONGEST_PRELUDE):
            line = lines.readline()
            if not skip:
                refuse_foreign(file, line)
            text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
            if "\0" in text:
                raise RecordsError("it is not UTF-8 text; convert it")
            if "\r" in text.strip('"'):
                raise RecordsError("its lines end in CR alone; convert them to LF")
            if not line or (text.strip() and not text.lower().startswith("sep=")):
                return Header(text, skip)
    return Header("", 0)


def json_layout(file: str) -> Layout:
    """Return how the JSON of a file is laid out.

    Raises:
        RecordsError: for content that is no text, without the name of the file.
    """
    with open_bytes(file) as lines:
        start = lines.read(1 << 16)
    refuse_foreign(file, start)
    content = start.removeprefix(BOM).lstrip()
    if content.startswith(b"["):
        return "array"
    line = content.split(b"\n", 1)[0].strip()
    if line == b"{" or _holds_several(line):  # fields on lines of their own, or objects without lines
        return "unstructured"
    return "marked" if start.startswith(BOM) else "newline_delimited"


def _holds_several(line: bytes) -> bool:
    """Return whether one object follows another on a line, as AWS Firehose writes them."""
    if b"}" not in line[:-1]:
        return False
    text = line.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip().startswith("{")


def by_layout(files: Sequence[str]) -> dict[Layout, list[str]]:
    """Return the files by how their JSON is laid out."""
    layouts: dict[Layout, list[str]] = defaultdict(list)
    for file in files:
        layouts[json_layout(file)].append(file)
    return layouts


def csv_header(line: str) -> tuple[bool, str, list[str]]:
    """Return whether lines are wrapped in quotes, the delimiter, and the column names."""
    delimiter = max(",\t;|", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter))
    if len(names) == 1 and delimiter in names[0]:
        return True, delimiter, names[0].split(delimiter)
    return False, delimiter, names
