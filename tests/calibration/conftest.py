"""Every claim adds its row to one table, printed at the end; EXD_CALIBRATION_TABLE names a file for it."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def measured(record_property):
    """Call with (figure, target, measured): one row of the table."""
    return lambda *row: record_property("calibration", list(row))  # reports travel between processes


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    called = [report for report in reports if getattr(report, "when", None) == "call"]
    called.sort(key=lambda report: report.location)
    rows = [row for report in called for name, row in report.user_properties if name == "calibration"]
    if not rows:
        return
    table = ["| figure | target | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    terminalreporter.section("calibration")
    terminalreporter.write_line("\n".join(table))
    if path := os.environ.get("EXD_CALIBRATION_TABLE"):
        Path(path).write_text("\n".join(table) + "\n")
