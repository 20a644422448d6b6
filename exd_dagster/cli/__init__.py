"""The `exd-dagster` command: each subcommand is imported only when it is called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, NoReturn

import click

from exd_dagster.errors import ExdError, did_you_mean

COMMANDS = {
    "telemetry": ("exd_dagster.cli.telemetry.command:telemetry", "Audit evaluation records from the shell."),
    "demo": ("exd_dagster.demo.command:demo", "Run the whole audit on seeded records with planted faults."),
    "init": ("exd_dagster.cli.init.command:init", "Write a first audit project for your own records."),
    "doctor": ("exd_dagster.cli.doctor.command:doctor", "Check that an audit project can do its work."),
    "drill": (
        "exd_dagster.cli.drill.command:drill",
        "Inject a fault into a copy of your records and measure detection.",
    ),
    "plan": ("exd_dagster.cli.plan:plan", "Say in how many hours a fault would be found."),
    "protect": ("exd_dagster.cli.protect:protect", "Show which reports a failing flag does not stop."),
    "test-alert": ("exd_dagster.cli.test_alert:test_alert", "Send a test alert to each destination."),
    "alerts": ("exd_dagster.cli.alerts:alerts", "Show open incidents and deliveries."),
    "slack": ("exd_dagster.cli.slack:slack", "Let the buttons of alerts answer in Slack."),
    "store": ("exd_dagster.cli.store:store", "Copy the bin store from a file to a lake, and back."),
    "decide": ("exd_dagster.cli.decide:decide", "Acknowledge, silence, waive, end or close a failure."),
}
"""Every subcommand: where its click command lives, and its line of help."""

INTERRUPTED = 130

_NO_COMMAND = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What Click raises for a group without a command, from 8.2 on."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it, and turns every error into an instruction."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the subcommands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one subcommand; None when there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a subcommand; a typo gets a suggestion."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'.{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run, then exit: 0 success, 1 a finding with --fail-on-error, 2 wrong usage or unusable input."""
        arguments = list(sys.argv[1:] if args is None else args)
        settings = {**extra, "prog_name": "exd-dagster", "obj": arguments, "standalone_mode": False}
        try:
            code = super().main(arguments, **settings)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except _NO_COMMAND as error:
            click.echo(error.format_message())
            sys.exit(2)
        except (click.ClickException, ExdError) as error:
            _tell(_instruction(error), arguments)
        except Exception as error:
            if os.environ.get("EXD_DAGSTER_TRACEBACK"):
                raise
            detail = "set EXD_DAGSTER_TRACEBACK=1 and run again to see where"
            _tell(f"unexpected {type(error).__name__}: {error}; {detail}", arguments)
        sys.exit(code if isinstance(code, int) else 0)


def _instruction(error: Exception) -> str:
    if not isinstance(error, click.ClickException):
        return str(error)
    ctx = getattr(error, "ctx", None)
    hint = f" Try '{ctx.command_path} --help'." if ctx is not None else ""
    return error.format_message() + hint


def _tell(message: str, arguments: Sequence[str]) -> NoReturn:
    """Report an error: as JSON on standard output if JSON was requested, else on standard error."""
    if "--format=json" in arguments or ("--format", "json") in pairwise(arguments):
        import json

        click.echo(json.dumps({"error": {"message": message, "exit_code": 2}}, indent=2))
    else:
        click.echo(f"Error: {message}", err=True)
    sys.exit(2)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="exd-dagster", prog_name="exd-dagster")
def main() -> None:
    """Audit feature-flag rollouts and experiments, where the data lands."""
