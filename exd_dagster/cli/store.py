"""`exd-dagster store`: work on the bin store itself."""

import click

from exd_dagster.bins.copy import copy_store
from exd_dagster.bins.places import place_at


@click.group()
def store() -> None:
    """Work on the bin store itself."""


@store.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--data-path", default="", help="Folder or URL of the data of a lake that is made.")
@click.option("--schema", default="", help="Schema of the store in a lake; by default main.")
def copy(source: str, target: str, data_path: str, schema: str) -> None:
    """Copy the store FROM one place TO another, all or nothing.

    A place is the path of a DuckDB file, ducklake:CATALOG or md:DATABASE.
    """
    places = [
        place_at(each, schema=schema, data_path=path) for each, path in ((source, ""), (target, data_path))
    ]
    rows = copy_store(*places)
    click.echo(
        f"{places[1].address} has what {places[0].address} has: {sum(rows.values()):,} rows in {len(rows)} "
        "tables. Stop the audits, give store= the new place, and start them again."
    )
