"""Every row of the table of defects has its test, and every test its row."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_rows_and_tests_are_the_same_fifty():
    rows = re.findall(r"^\| D(\d\d) \|", (ROOT / "docs/xpyrment.md").read_text(), re.MULTILINE)
    tests = re.findall(
        r"^def test_d(\d\d)_", (ROOT / "tests/notebook/test_defects.py").read_text(), re.MULTILINE
    )
    assert rows == tests == [f"{number:02}" for number in range(1, 51)]
