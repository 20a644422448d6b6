"""The costs on the page of engines are those that its snippet computes."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def test_each_number_of_the_table_of_costs_is_one_that_the_snippet_prints(capsys: pytest.CaptureFixture[str]):
    section = PAGE.read_text().partition("## What a night costs\n")[2].partition("\n| figure |")[0]
    exec(section.partition("```python\n")[2].partition("```")[0], {})
    printed = re.findall(r"[\d.]*\d", capsys.readouterr().out)
    rows = [line for line in section.splitlines() if line.startswith("|") and "$" in line]
    table = [number for row in rows for number in re.findall(r"[\d.]*\d", row)]
    assert table == printed != []
