"""docs/exd.md shows what the command really prints, and names every option it has."""

import re
from pathlib import Path

import click
import time_machine
from click.testing import CliRunner

from exd_dagster.cli import main
from exd_dagster.cli.telemetry.command import telemetry
from exd_dagster.config import Thresholds
from tests.cli.records import write_log

PAGE = (Path(__file__).parents[2] / "docs" / "exd.md").read_text()


def test_example_of_srm_is_what_the_command_prints(tmp_path):
    log = write_log(tmp_path / "log.parquet", {"control": 5165, "treatment": 4835})
    arguments = ["--flag", "new-checkout", "--expected", "control=.5,treatment=.5", "--since", "7d"]
    with time_machine.travel("2026-03-04T00:00:00Z"):
        result = CliRunner().invoke(main, ["telemetry", "srm", *arguments, "--source", str(log)])
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert result.stdout == shown[1]


def test_every_option_and_command_is_described():
    options = {
        name
        for command in telemetry.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    missing = [name for name in options if name not in PAGE]
    missing += [name for name in telemetry.commands if f"telemetry {name}" not in PAGE]
    assert not missing


def test_every_threshold_is_described_with_its_default():
    levels = Thresholds()
    for table in set(Thresholds.model_fields) - {"source"}:
        assert f"`[{table}]`" in PAGE
        for key, field in type(getattr(levels, table)).model_fields.items():
            if (table, key) != ("evaluation_rate_anomaly", "window"):
                assert f"`{key}`" in PAGE, field
