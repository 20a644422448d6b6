"""`exd-dagster demo`: the whole job on seeded records, in front of one's eyes."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from exd_dagster.demo.run import FlagOutcome, Summary

DEFAULT = Path(".demo")
_COLOURS = {"pass": "green", "fail": "bold red", "built": "green", "blocked": "bold red"}


@click.command(short_help="Run the whole audit on seeded records with planted faults.")
@click.option("--folder", type=click.Path(path_type=Path), default=DEFAULT, show_default=True, help="Output.")
def demo(folder: Path) -> None:
    """Write evaluation records of seven flags, four of them broken, and audit them through Dagster.

    Nothing leaves this machine: Slack, e-mail and webhook are small servers on 127.0.0.1 whose inbox is a
    folder one can open.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    with _progress(console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        from exd_dagster.demo.run import run_demo

        summary = run_demo(Path(), folder, show)
    console.print(outcome_table(summary))
    console.print(_where_next(folder))


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<26}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def outcome_table(summary: "Summary") -> Table:
    """Return one row per flag: declared and observed split, verdicts, effect."""
    table = Table(title="Audit of seven flags", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    wrapped = ("only in", "alert")
    for heading in (
        "flag",
        "n",
        "declared %",
        "observed %",
        "srm",
        "sequential",
        "traffic",
        "only in",
        "report",
        "alert",
    ):
        table.add_column(
            heading, justify="right" if heading == "n" else "left", no_wrap=heading not in wrapped
        )
    for flag in summary.flags:
        table.add_row(
            flag.key,
            f"{flag.n:,}",
            "/".join(f"{100 * share:.0f}" for share in flag.declared.values()),
            _observed(flag),
            *(_coloured(flag.verdicts[check]) for check in ("srm", "sequential_srm", "traffic_drop")),
            Text(flag.segment, style="yellow"),
            _coloured(flag.report),
            _notified(summary, flag.key),
        )
    return table


def _observed(flag: "FlagOutcome") -> str:
    return "/".join(f"{100 * flag.observed.get(name, 0) / max(flag.n, 1):.1f}" for name in flag.declared)


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, "yellow"))


def _notified(summary: "Summary", key: str) -> str:
    rows = [row for row in summary.deliveries if row.flag == key]
    words = []
    for status in dict.fromkeys(row.status for row in rows):
        channels = dict.fromkeys(row.channel for row in rows if row.status == status)
        words.append(f"{status.replace('_', ' ')}: {' '.join(channels)}")
    return "; ".join(words) or "-"


def _where_next(folder: Path) -> str:
    return (
        f"\nThe messages as they arrived:  {folder}/inbox/\n"
        f"The reports that were built:   {folder}/reports/\n"
        f"All of it as JSON:             {folder}/summary.json\n"
        f"Assets, checks and pictures:   {_ui(folder)}, then http://127.0.0.1:3000/assets"
    )


def _ui(folder: Path) -> str:
    """Return the command that shows the demo: the short one in a checkout, else one that works anywhere."""
    if folder == DEFAULT and Path("exd_dagster", "demo").is_dir():
        return "make ui"
    elsewhere = "" if folder == DEFAULT else f"EXD_DEMO_FOLDER={shlex.quote(str(folder))} "
    return f"{elsewhere}dagster dev -m exd_dagster.demo.project"
