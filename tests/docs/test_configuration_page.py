"""The configuration page says what the models say."""

import re

from docs.make_configuration import PAGE, page
from exd_dagster.definitions.component.component import FlagAuditComponent


def test_the_page_is_what_its_generator_makes():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m docs.make_configuration"


def test_every_key_is_described():
    rows = [row for row in page().splitlines() if row.startswith("| `")]
    assert not [row for row in rows if not re.split(r"(?<!\\)\|", row)[-2].strip()]


def test_every_link_within_the_page_leads_somewhere():
    text = page()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", text, re.M)}
    assert set(re.findall(r"\(#([\w-]+)\)", text)) <= anchors


def test_the_example_can_be_used():
    (example,) = re.findall(
        r"```yaml\ntype: exd_dagster.FlagAuditComponent\n\nattributes:\n(.*?)```", page(), re.S
    )
    component = FlagAuditComponent.resolve_from_yaml(example)
    assert [flag.mode for flag in component.flags] == ["observe", "block"]
    assert len(component.alerts) == 2
