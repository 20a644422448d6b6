"""A finding in both formats: exd's JSON provenance envelope, and text."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeAlias

import click

from exd_dagster.alerts.messages.text import clip_name
from exd_dagster.cli.telemetry.window import Window

Severity: TypeAlias = Literal["info", "warning", "error"]
_COLOURS = {"info": "cyan", "warning": "yellow", "error": "red", "PASS": "green", "FAIL": "red"}
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s']+@")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What the numbers mean; `code` is exd's T-code, None where exd has none for it."""

    code: str | None
    severity: Severity
    message: str
    likely_causes: Sequence[str] = ()

    @property
    def fails(self) -> bool:
        """True where `--fail-on-error` makes the command exit 1."""
        return self.severity != "info"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their headers; numbers and percentages are right-aligned."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str | int | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one telemetry command found, with everything needed to find it again.

    Attributes:
        query: name of the query; `telemetry.*` where exd defines it.
        inputs: the arguments that shaped the answer.
        result: the query's numbers, strict JSON.
        window: what was looked at.
        source: the URIs read.
        engine: name and version of what counted.
        record_count: evaluations counted for the answer.
        thresholds_source: where the levels came from.
        title: first line of the text.
        table: the numbers of the text.
        verdict: last line of the text, its last word in capitals where it is a verdict.
        manifest_versions: those seen in the records, ascending.
        diagnostics: what the numbers mean.
        notes: how to read the numbers, one sentence each.
    """

    query: str
    inputs: Mapping[str, Any]
    result: Mapping[str, Any]
    window: Window
    source: Sequence[str]
    engine: tuple[str, str]
    record_count: int
    thresholds_source: str
    title: str
    table: Table
    verdict: str = ""
    manifest_versions: Sequence[int] = ()
    diagnostics: Sequence[Diagnostic] = ()
    notes: Sequence[str] = ()


def as_json(finding: Finding, executed_at: datetime, arguments: Sequence[str]) -> str:
    """Return the finding in exd's provenance envelope, under our own name and version."""
    envelope = {
        "query": finding.query,
        "query_version": 1,
        "schema_version": 1,
        "producer": {"name": "exd-dagster", "version": _version("exd-dagster")},
        "inputs": dict(finding.inputs),
        "result": dict(finding.result),
        "diagnostics": [_without_empty(diagnostic) for diagnostic in finding.diagnostics],
        "notes": list(finding.notes),
        "provenance": {
            "source": [redacted(uri) for uri in finding.source],
            "time_range": {"from": _instant(finding.window.start), "to": _instant(finding.window.end)},
            "manifest_versions_observed": list(finding.manifest_versions),
            "executed_at": f"{executed_at:%Y-%m-%dT%H:%M:%S}.{executed_at.microsecond // 1000:03d}Z",
            "engine": finding.engine[0],
            "engine_version": finding.engine[1],
            "record_count": finding.record_count,
            "thresholds_source": finding.thresholds_source,
            "tool_invocation": redacted(shlex.join(["exd-dagster", *arguments])),
        },
    }
    return json.dumps(envelope, indent=2, allow_nan=False, ensure_ascii=False)


def as_text(finding: Finding) -> str:
    """Return the finding as text: title, numbers, verdict, and what to check next."""
    parts = [click.style(finding.title, bold=True), "\n".join(_table_lines(finding.table))]
    if finding.verdict:
        words, _, last = finding.verdict.rpartition(" ")
        parts.append(f"{words} {click.style(last, fg=_COLOURS.get(last), bold=last in _COLOURS)}".strip())
    for diagnostic in finding.diagnostics:
        head = f"{diagnostic.code} {diagnostic.severity}:" if diagnostic.code else f"{diagnostic.severity}:"
        lines = [f"{click.style(head, fg=_COLOURS[diagnostic.severity], bold=True)} {diagnostic.message}"]
        if diagnostic.likely_causes:
            lines += ["  likely causes:", *(f"    - {cause}" for cause in diagnostic.likely_causes)]
        parts.append("\n".join(lines))
    parts.append("\n".join(f"note: {note}" for note in finding.notes))
    return "\n\n".join(part for part in parts if part)


def _table_lines(table: Table) -> Iterator[str]:
    """Lay the columns out: names to the left, numbers to the right."""
    lines = [list(table.headers), *([_cell(cell) for cell in row] for row in table.rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [
        any(cell[-1:] == "%" or cell[:1].isdigit() or cell == "-" for cell in column[1:])
        for column in columns
    ]
    for line in lines:
        cells = zip(line, widths, right, strict=True)
        yield "  ".join(cell.rjust(w) if number else cell.ljust(w) for cell, w, number in cells).rstrip()


def _cell(value: str | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else clip_name(value, _WIDEST)


_WIDEST = 60
"""Characters of a table's cell; --format json has names of any length whole."""


def _without_empty(diagnostic: Diagnostic) -> dict[str, Any]:
    return {key: value for key, value in asdict(diagnostic).items() if value or key == "code"}


def redacted(text: str) -> str:
    """Take user and password out of every URI in `text`."""
    return _CREDENTIALS.sub("***@", text)


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
