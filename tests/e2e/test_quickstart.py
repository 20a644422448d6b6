"""The first hour, as the quickstart tells it: its commands are run and print what it shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from exd_dagster.demo.data import write_records

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"
COMMANDS = re.findall(r"^\$ exd-dagster (.*)\n((?:[^$`].*\n|\n)*)", PAGE.read_text(), re.M)
EDITS = {"doctor": ("# split=", "split="), "test-alert": ("# exd.Slack", "exd.Slack")}
"""What the page asks to uncomment before a command."""


@pytest.mark.e2e
def test_every_command_of_the_quickstart_prints_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_records(tmp_path / ".demo" / "records", progress=lambda done, total: None)
    home = tmp_path / "my-audit"
    home.mkdir()
    for command, shown in COMMANDS:
        uncomment(home / "definitions.py", *EDITS.get(command.split()[0], ("", "")))
        printed = run(command, home)
        lost = [
            line for line in shown.splitlines() if line.strip() not in ("", "...") and line not in printed
        ]
        assert not lost, "\n".join(printed)
    assert [command.split()[0] for command, _ in COMMANDS] == [
        "init",
        "doctor",
        "drill",
        "test-alert",
        "init",
    ]


def run(command: str, folder: Path) -> list[str]:
    """Run a command and return its lines, blanks at their ends left out."""
    code = "from exd_dagster.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    return [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]


def uncomment(file: Path, commented: str, meant: str) -> None:
    if commented:
        file.write_text(file.read_text().replace(commented, meant))
