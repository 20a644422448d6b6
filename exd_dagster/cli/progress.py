"""A progress bar on standard error while DuckDB works, on terminals only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_EVERY = 0.1


@contextmanager
def scanning(connection: "DuckDBPyConnection", words: str) -> Iterator[None]:
    """Show how far the running query of `connection` is, while the block runs and a terminal shows it.

    DuckDB's own bar, which it prints to standard output where it takes the session for interactive, is off.
    """
    watched = sys.stderr.isatty()
    connection.execute(f"SET enable_progress_bar = {watched}; SET enable_progress_bar_print = false")
    if not watched:
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    done = Event()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=100)

        def follow() -> None:
            while not done.wait(_EVERY):
                bar.update(task, completed=max(connection.query_progress(), 0))

        follower = Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()
