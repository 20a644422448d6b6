"""The page of vendors says what the presets say."""

from docs.make_vendors import PAGE, page
from exd_dagster.telemetry.preset import presets


def test_the_page_is_what_its_generator_makes():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m docs.make_vendors"


def test_every_preset_has_a_section():
    assert all(f'preset="{name}")' in page() for name in presets() if name != "exd")


def test_a_section_is_one_screen():
    sections = page().split("\n## ")[1:]
    assert all(len(section.splitlines()) <= 45 for section in sections)
