"""`exd-dagster protect`: which reports a failing flag does not stop, and the call that protects them."""

import click
import dagster as dg

from exd_dagster.alerts.messages.text import visible
from exd_dagster.cli.project import load_definitions, module_option
from exd_dagster.definitions.protection.coverage import Coverage, coverage
from exd_dagster.definitions.protection.protect import audited
from exd_dagster.errors import ConfigError

_SAID = {
    "guard": "protected",
    "gate": "NOT PROTECTED: only automation waits",
    "behind": "behind protected assets",
    "none": "NOT PROTECTED",
}


@click.command()
@click.option("--list", "listed", is_flag=True, help="List every asset downstream, protected or not.")
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 when an asset is not protected.")
@module_option
@click.pass_context
def protect(ctx: click.Context, listed: bool, fail_on_error: bool, module: str | None) -> None:
    """Show which assets downstream of audited flags are not protected, and the call that protects them."""
    projects = [defs for defs in load_definitions(module) if audited(defs)]
    if not projects:
        raise ConfigError("the project", ["it audits no flag; call build_flag_audit_defs in it"])
    found = [(defs, coverage(defs)) for defs in projects]
    open_ones = [row for _, rows in found for row in rows if row.open]
    if listed:
        for _, rows in found:
            _list(rows)
    click.echo(_summary([row for _, rows in found for row in rows], open_ones))
    for defs, rows in found:
        if any(row.open for row in rows):
            click.echo(_call(defs, [row for row in rows if row.open]))
    ctx.exit(1 if fail_on_error and open_ones else 0)


def _list(rows: list[Coverage]) -> None:
    lines = [("asset", "builds on", "")]
    for row in rows:
        flags = ", ".join(visible(str(flag)) for flag in row.flags) or "records only"
        said = _SAID[row.cover] if row.executable else "not built by Dagster"
        lines.append((row.asset.to_user_string(), flags, said))
    first, second = (max(len(line[place]) for line in lines) for place in (0, 1))
    for asset, flags, said in lines:
        click.echo(f"{asset:<{first}}  {flags:<{second}}  {said}".rstrip())


def _summary(rows: list[Coverage], open_ones: list[Coverage]) -> str:
    if not rows:
        return "No asset builds on an audited flag or on its records."
    if not open_ones:
        return f"All {len(rows)} assets downstream of audited flags are protected."
    return f"{len(open_ones)} of {len(rows)} assets downstream of audited flags are not protected."


def _call(defs: dg.Definitions, rows: list[Coverage]) -> str:
    """Return the Python that protects these assets; what reads only records may hold any flag."""
    everything = sorted(str(flag) for flag in audited(defs))
    every = everything if len(everything) <= 5 else ["*"]
    lines = [
        f"    {row.asset.to_user_string()!r}: {[str(flag) for flag in row.flags] or every},".replace("'", '"')
        for row in rows
    ]
    return "\n".join(["", "defs = exd.protect(defs, {", *lines, "})"])
