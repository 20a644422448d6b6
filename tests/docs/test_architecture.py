"""The map: every path that docs/architecture.md names is there, and every folder of the package is named."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "exd_dagster"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted({name for name in re.findall(r"`([\w./]+)`", PAGE) if re.search(r"/|\.(py|md|toml)$", name)})


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_the_map_names_is_there(path: str) -> None:
    assert (PACKAGE / path).exists() or (ROOT / path).exists()


def test_the_map_names_every_folder_of_the_package() -> None:
    folders = {str(file.parent.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")} - {"."}
    assert not {folder for folder in folders if f"`{folder}/" not in PAGE}
