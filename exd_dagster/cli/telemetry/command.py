"""`exd-dagster telemetry`: the commands of `exd telemetry`, counting units, with the same verdicts."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

import click

from exd_dagster.cli.telemetry.window import read_window

Command = TypeVar("Command", bound=Callable[..., Any])

_COMMON = (
    click.option("--namespace", help="Count only this namespace."),
    click.option("--environment", help="Count only this environment."),
    click.option("--since", metavar="DURATION", help="Window up to now, such as 24h or 7d.  [default: 24h]"),
    click.option("--from", "from_", metavar="TS", help="First instant, RFC 3339."),
    click.option("--to", metavar="TS", help="First instant no longer counted.  [default: now]"),
    click.option(
        "--source",
        multiple=True,
        metavar="URI",
        help="Files, globs, a DuckDB file[:table], or s3:// and other URLs. May be repeated.",
    ),
    click.option("--preset", metavar="NAME", help="The vendor or SDK whose export --source is."),
    click.option("--unit", metavar="NAME", help="Which of the preset's units is randomized."),
    click.option(
        "--column", multiple=True, metavar="NAME=OWN", help="The log's own name of a column of exd's."
    ),
    click.option(
        "--constant", multiple=True, metavar="NAME=VALUE", help="A column that the log does not have."
    ),
    click.option("--format", "format_", type=click.Choice(["human", "json"]), default="human"),
    click.option(
        "--thresholds", metavar="FILE", help="thresholds.toml; without it the built-in levels apply."
    ),
    click.option(
        "--engine",
        default="duckdb",
        show_default=True,
        help="Another one counts where the records live: --source is its address, #table at the end.",
    ),
    click.option("--fail-on-error", is_flag=True, help="Exit 1 when a finding is a warning or worse."),
)
_SPLIT = (
    click.option("--expected", metavar="a=.1,b=.9", help="Declared share of each variant; they sum to 1."),
    click.option("--manifest", metavar="DIR", help="Manifest the split is read from.  [default: .]"),
    click.option("--manifest-version", type=int, metavar="N", help="Count only records of this version."),
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def telemetry() -> None:
    """Audit evaluation records from the shell.

    Exit codes: 0 fine, 1 with --fail-on-error and a finding of warning or worse, 2 wrong usage or unreadable
    input.
    """


@telemetry.command()
@click.option("--flag", required=True, help="Flag key.")
@_with(*_SPLIT, *_COMMON)
@click.option(
    "--count",
    type=click.Choice(["units", "evaluations"]),
    default="units",
    show_default=True,
    help="evaluations gives exd's own numbers; they are not independent.",
)
def srm(**given: Any) -> None:
    """Sample-ratio mismatch: did the variants get the units they were declared to get? (T001, T002)."""
    _answer("srm", given)


@telemetry.command()
@click.option("--flag", required=True, help="Flag key.")
@_with(*_SPLIT, *_COMMON)
def sequential(**given: Any) -> None:
    """Sequential SRM: did the split break at any hour? Valid at any number of looks."""
    _answer("sequential", given)


@telemetry.command()
@click.option("--flag", required=True, help="Flag key.")
@_with(*_COMMON)
def traffic(**given: Any) -> None:
    """Traffic drop: did units stop arriving in this window, as the weeks before it expect?"""
    _answer("traffic", given)


@telemetry.command()
@click.option("--flag", help="Flag key; without it every flag.")
@_with(*_COMMON)
def summary(**given: Any) -> None:
    """Counts and variant distribution per flag."""
    _answer("summary", given)


@telemetry.command("version-skew")
@click.option("--flag", help="Flag key; without it every flag.")
@_with(*_COMMON)
def version_skew(**given: Any) -> None:
    """Evaluations by manifest version: which SDKs lag behind? (T004)."""
    _answer("version_skew", given)


def _answer(query: str, given: dict[str, Any]) -> None:
    """Ask, print, and set the exit code."""
    now = datetime.now(timezone.utc)
    context = click.get_current_context()
    window = read_window(given.pop("since"), given.pop("from_"), given.pop("to"), now)
    form, strict = given.pop("format_"), given.pop("fail_on_error")

    from exd_dagster.cli.telemetry.finding import as_json, as_text
    from exd_dagster.cli.telemetry.queries import QUERIES
    from exd_dagster.cli.telemetry.request import read_request

    finding = QUERIES[query](read_request(window=window, now=now, **given))
    click.echo(as_json(finding, now, context.obj) if form == "json" else as_text(finding))
    if strict and any(diagnostic.fails for diagnostic in finding.diagnostics):
        context.exit(1)
