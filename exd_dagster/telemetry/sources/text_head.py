"""What the start of a text file says: that it is no text, how its JSON is laid out, where its header is."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.files import open_bytes

Layout: TypeAlias = Literal["newline_delimited", "marked", "array", "unstructured"]
"""JSON by lines, by lines after a byte order mark, in one array, or one object after another."""

BOM = b"\xef\xbb\xbf"
_FOREIGN = (
    (b"\x1f\x8b", "it is compressed by gzip; let its name end in .gz"),
    (b"PAR1", "it is a Parquet file; read it with ParquetRecords"),
    (b"PK\x03\x04", "it is a zip archive or an Excel workbook; unpack it, or save it as CSV"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; unpack it, or compress it by gzip"),
    (b"BZh", "it is compressed by bzip2; unpack it, or compress it by gzip"),
    (b"\xff\xfe", "it is not UTF-8 text; convert it, for example with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "it is not UTF-8 text; convert it, for example with iconv -f UTF-16 -t UTF-8"),
)
_LONGEST_PRELUDE = 100
"""Lines before the header of a CSV that are looked through."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a CSV file, "" in one without, and how many lines come before it."""

    text: str
    skip: int


def refuse_foreign(start: bytes) -> None:
    """Refuse the content of a file that is no UTF-8 text, with what it is instead.

    Raises:
        RecordsError: without the name of the file.
    """
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            raise RecordsError(what)
    if b"\0" in start[:4]:
        raise RecordsError("it is not UTF-8 text; convert it, for example with iconv -f UTF-16 -t UTF-8")


def csv_head(file: str) -> Header:
    """Return the header of a CSV file: blank lines and the `sep=;` of Excel come before it.

    Raises:
        RecordsError: for content that is no text, without the name of the file.
    """
    with open_bytes(file) as lines:
        for skip in range(_LONGEST_PRELUDE):
            line = lines.readline()
            if not skip:
                refuse_foreign(line)
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
    refuse_foreign(start)
    content = start.removeprefix(BOM).lstrip()
    if content.startswith(b"["):
        return "array"
    if content.split(b"\n", 1)[0].strip() == b"{":  # its fields follow on lines of their own
        return "unstructured"
    return "marked" if start.startswith(BOM) else "newline_delimited"
