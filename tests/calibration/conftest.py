"""Every claim adds its row to one table, printed at the end; EXD_CALIBRATION_TABLE names a file for it."""

import os
from pathlib import Path

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()


@pytest.fixture
def measured(request):
    """Call with (figure, target, measured): one row of the table."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda figure, target, value: rows.append((figure, target, value))


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    table = ["| figure | target | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    terminalreporter.section("calibration")
    terminalreporter.write_line("\n".join(table))
    if path := os.environ.get("EXD_CALIBRATION_TABLE"):
        Path(path).write_text("\n".join(table) + "\n")
