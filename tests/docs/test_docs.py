"""What the documentation says can be followed: links lead somewhere, snippets run, commands exist."""

import re
import shlex
from pathlib import Path

import click
import duckdb
import pytest

from exd_dagster.cli import main
from tests.logs import healthy, rows, write

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[object]:
    """Return every fenced block of a language as a parameter named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.S | re.M):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        place, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert not lost


def anchors(page: Path) -> set[str]:
    """Return the anchors GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the snippets speak of: logs, a CSV, a database of an engine."""
    write(tmp_path / "logs", rows("new-checkout", healthy(3)), rows("new-checkout-flow", healthy(3)))
    log = rows("new-checkout", healthy(1)).rename(columns={"unit_id_hash": "user_id", "variant_key": "group"})
    log.to_csv(tmp_path / "exposures.csv", index=False)
    with duckdb.connect(str(tmp_path / "telemetry.duckdb")) as connection:
        connection.execute(f"CREATE TABLE flag_evaluations AS FROM '{tmp_path}/logs/*.parquet'")
    monkeypatch.setenv("TELEMETRY_DATABASE", f"duckdb://{tmp_path}/telemetry.duckdb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_snippets_of_a_page_run_one_after_another(page: Path, workplace: Path) -> None:
    names: dict[str, object] = {"__name__": "snippet"}
    for match in re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M):
        line = page.read_text()[: match.start()].count("\n") + 2
        exec(compile("\n" * (line - 1) + match[1], str(page), "exec"), names)


@pytest.mark.parametrize("transcript", blocks("console"))
def test_every_command_of_a_transcript_exists(transcript: str) -> None:
    for line in transcript.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
        if words[:1] == ["exd-dagster"]:
            assert_parses(words[1:], line)


def assert_parses(words: list[str], line: str) -> None:
    """Follow the words to a command and hold each option against those it has."""
    command: click.Command | None = main
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None, f"no such command: {line}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in rest if word.startswith("-") and len(word) > 1}
    assert used <= known | {"--help", "-h", "--version"}, f"unknown option in: {line}"
