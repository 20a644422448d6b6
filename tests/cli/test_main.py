"""The command itself: quick help, and every error an instruction with exit code 2."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from exd_dagster import cli
from exd_dagster.cli import main
from exd_dagster.errors import StoreError


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("arguments", [["--help"], ["telemetry", "srm", "--help"]])
def test_help_imports_neither_the_package_core_nor_dagster(arguments):
    heavy = ("dagster", "duckdb", "numpy", "pandas", "pydantic", "scipy", "rich")
    code = (
        "import sys\nfrom exd_dagster.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_every_listed_command_exists_and_has_help():
    names = main.list_commands(click.Context(main))
    assert "telemetry" in names
    for name in names:
        assert run(name, "--help").exit_code == 0


def test_unknown_command_is_a_usage_error_on_standard_error():
    result = run("telemetri")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'telemetri'" in result.stderr


def test_a_mistyped_command_gets_the_nearest_name():
    assert "No such command 'dril'. Did you mean 'drill'?" in run("dril").stderr


@pytest.mark.parametrize("group", [[], ["alerts"], ["telemetry"]])
def test_a_group_without_a_command_shows_its_help_and_no_error(group):
    result = run(*group)
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""


@pytest.fixture
def broken(monkeypatch):
    """A command that raises what it is given."""

    def install(error: BaseException) -> None:
        @click.command()
        @click.option("--format")
        def broken(format: str | None) -> None:  # noqa: A002
            raise error

        module = type(sys)("exd_dagster_broken")
        module.broken = broken
        monkeypatch.setitem(sys.modules, "exd_dagster_broken", module)
        monkeypatch.setitem(cli.COMMANDS, "broken", ("exd_dagster_broken:broken", "Fails."))

    return install


def test_error_of_ours_is_reported_without_a_traceback(broken):
    broken(StoreError("the store is locked; stop the other run"))
    result = run("broken")
    assert (result.exit_code, result.stderr) == (2, "Error: the store is locked; stop the other run\n")


@pytest.mark.parametrize("arguments", [["--format", "json"], ["--format=json"]])
def test_error_is_json_where_json_was_asked_for(broken, arguments):
    broken(StoreError("locked"))
    result = run("broken", *arguments)
    assert (result.exit_code, result.stderr) == (2, "")
    assert json.loads(result.stdout) == {"error": {"message": "locked", "exit_code": 2}}


def test_unexpected_error_names_the_way_to_its_traceback(broken):
    broken(KeyError("x"))
    result = run("broken")
    assert result.exit_code == 2
    assert "unexpected KeyError: 'x'; set EXD_DAGSTER_TRACEBACK=1" in result.stderr


def test_interrupt_exits_as_a_shell_expects(broken):
    broken(KeyboardInterrupt())
    assert run("broken").exit_code == 130
