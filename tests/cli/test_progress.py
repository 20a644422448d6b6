"""A bar on a terminal, on standard error; nothing where nobody watches."""

import io

import duckdb
import pytest

from exd_dagster.cli.progress import scanning


def setting(connection, name: str) -> str:
    return connection.execute(f"SELECT current_setting('{name}')").fetchall()[0][0]


@pytest.mark.parametrize("watched", [False, True])
def test_duckdb_itself_never_prints_a_bar(monkeypatch, watched):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: watched, raising=False)
    monkeypatch.setattr("sys.stderr", screen)
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = true")
        with scanning(connection, "Counting"):
            assert setting(connection, "enable_progress_bar") is watched
            assert setting(connection, "enable_progress_bar_print") is False
            connection.execute("SELECT count(*) FROM range(1000)").fetchall()
    assert bool(screen.getvalue()) is watched


def test_error_inside_the_block_passes_through(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", screen)
    with (
        pytest.raises(duckdb.CatalogException),
        duckdb.connect() as connection,
        scanning(connection, "Counting"),
    ):
        connection.execute("SELECT * FROM nowhere")
