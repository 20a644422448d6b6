"""Text files as editors, spreadsheets and loggers write them: counted right, or refused as what they are."""

import gzip
import json
from datetime import datetime, timezone

import pytest

import exd_dagster as exd
from exd_dagster.errors import RecordsError

NOW = datetime(2026, 3, 10, tzinfo=timezone.utc)
ROWS = [
    {
        "timestamp": f"2026-03-01T09:{i:02}:00Z",
        "flag_key": "f",
        "variant_key": "ab"[i % 2],
        "unit_id_hash": f"u{i}",
    }
    for i in range(4)
]
LINES = [json.dumps(row) for row in ROWS]
CSV = "\n".join([",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]) + "\n"
BOM = b"\xef\xbb\xbf"

READ = {
    "array.json": json.dumps(ROWS).encode(),
    "array over lines.json": json.dumps(ROWS, indent=2).encode(),
    "array after a mark.json": BOM + json.dumps(ROWS).encode(),
    "objects over lines.json": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "lines after a mark.ndjson": BOM + "\n".join(LINES).encode(),
    "lines of Windows.ndjson": "\r\n".join(LINES).encode(),
    "blank lines first.csv": b"\n  \n" + CSV.encode(),
    "sep= of Excel.csv": b"\xef\xbb\xbfsep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n").encode(),
    "upper.CSV.GZ": gzip.compress(CSV.encode()),
    "objects without lines.json": "".join(LINES).encode(),
    "objects without lines.ndjson.gz": gzip.compress("".join(LINES).encode()),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
}


@pytest.mark.parametrize("name", READ)
def test_every_row_is_counted(name, tmp_path):
    (tmp_path / name).write_bytes(READ[name])
    assert exd.variant_bins(tmp_path / name, flag="f", now=NOW)["new_units"].sum() == 4


REFUSED = {
    "wide.csv": (CSV.encode("utf-16"), "not UTF-8 text; convert it"),
    "wide.ndjson": ("\n".join(LINES).encode("utf-16-le"), "not UTF-8 text; convert it"),
    "packed.ndjson": (gzip.compress(b"{}"), r"compressed by gzip; let its name end in \.gz"),
    "plain.csv.gz": (CSV.encode(), r"not compressed by gzip; let its name not end in \.gz"),
    "twice.csv.gz": (gzip.compress(gzip.compress(CSV.encode())), "compressed by gzip twice; unpack it once"),
    "workbook.csv": (b"PK\x03\x04 and more", "save it as CSV"),
    "parquet.csv": (b"PAR1 and more", "read it with ParquetRecords"),
    "classic Mac.csv": (CSV.replace("\n", "\r").encode(), "convert them to LF"),
    "commas.ndjson": (",\n".join(LINES).encode() + b",", "write one JSON object a line"),
    "numbers.json": (b"[1, 2]", "2 of its JSON values hold none of the columns"),
    "list inside.json": (json.dumps({"page": 1, "rows": ROWS}).encode(), r"Did you mean 'rows\[\].flag_key'"),
    "list far inside.json": (json.dumps({"a.b": {"c": ROWS}}).encode(), r"""'"a.b".c\[\].timestamp'"""),
    "log.parquet": (gzip.compress(b"PAR1"), "compressed by gzip; unpack it"),
    "text.parquet": (CSV.encode(), r'it is text; read it with FileRecords\(path=..., format="csv"\)'),
    "lines.parquet": (
        LINES[0].encode(),
        r'it is JSON; read it with FileRecords\(path=..., format="ndjson"\)',
    ),
    "cut.parquet": (b"PAR1 and more", "it ends before its footer; write or copy it again"),
    "empty.parquet": (b"", "it is empty; write it again"),
    "deep.ndjson": (b"[" * 100_000, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_log_is_refused_as_what_it_is(name, tmp_path):
    content, said = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordsError, match=said) as raised:
        exd.variant_bins(tmp_path / name, flag="f", now=NOW)
    assert name in str(raised.value)


def test_the_path_that_a_list_inside_is_refused_with_reads_it(tmp_path):
    (tmp_path / "log.json").write_text(json.dumps({"a.b": {"c": ROWS}}))
    paths = {name: f'"a.b".c[].{name}' for name in ROWS[0]}
    log = exd.FileRecords(path=tmp_path / "log.json", columns=paths)
    assert exd.variant_bins(log, flag="f", now=NOW)["new_units"].sum() == 4


def test_what_databases_write_for_a_missing_value_is_one(tmp_path):
    """MySQL, Hive, Athena, Snowflake and PostgreSQL write it as a backslash and N."""
    (tmp_path / "log.csv").write_text(CSV.replace("u3", "\\N").replace(",b,", ",\\N,", 1))
    bins = exd.variant_bins(tmp_path / "log.csv", flag="f", now=NOW)
    assert dict(bins.groupby("variant")["new_units"].sum()) == {"a": 2}


def test_a_deep_line_among_others_is_named_and_the_others_count(tmp_path):
    (tmp_path / "log.ndjson").write_text("\n".join([*LINES, "[" * 100_000]))
    assert exd.variant_bins(tmp_path / "log.ndjson", flag="f", now=NOW)["new_units"].sum() == 4


def test_a_bad_line_after_a_mark_is_named_by_number(tmp_path):
    (tmp_path / "log.ndjson").write_bytes(BOM + "\n".join([*LINES, "{bad"]).encode())
    source = exd.FileRecords(path=tmp_path / "log.ndjson")
    import duckdb

    with duckdb.connect() as connection, source.open(connection, NOW, NOW) as scan:
        assert [fault.why for fault in scan.unreadable] == ["1 line cannot be read: line 5"]


def test_a_file_of_another_layout_beside_others_counts_with_them(tmp_path):
    (tmp_path / "1.json").write_text("\n".join(LINES[:2]))
    (tmp_path / "2.json").write_text(json.dumps(ROWS[2:]))
    assert exd.variant_bins(str(tmp_path / "*.json"), flag="f", now=NOW)["new_units"].sum() == 4
