"""The demo, run once for every test that looks at what it leaves behind."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.webserver import ROOT


@dataclass(frozen=True)
class Demo:
    """What one run of `exd-dagster demo` left in its folder.

    Attributes:
        home: the folder, with dagster.yaml and workspace.yaml.
        summary: of the run, as JSON.
        shown: what it printed.
    """

    home: Path
    summary: dict[str, Any]
    shown: str


def run_demo(home: Path) -> Demo:
    """Run the command in a folder, again where it has run before."""
    command = [sys.executable, "-c", "from exd_dagster.cli import main; main()", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Demo(home, json.loads((home / ".demo" / "summary.json").read_text()), done.stdout)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The first run, in a folder that was empty. Copy it before changing it."""
    return run_demo(tmp_path_factory.mktemp("demo"))
