"""The troubleshooting page names errors as the code says them."""

import re
from pathlib import Path

import pytest

import exd_dagster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## By error")[2]
SOURCE = " ".join(path.read_text() for path in Path(exd_dagster.__file__).parent.rglob("*.py"))
ERRORS = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (`.*?`(?: \.\.\. `.*?`)?) \|", PAGE, re.M)))


@pytest.mark.parametrize("words", ERRORS)
def test_every_error_on_the_page_is_one_the_code_can_say(words: str) -> None:
    said = re.sub(r'"\s*f?"', "", SOURCE)  # a sentence may be written in several pieces
    assert words in said or words in SOURCE
