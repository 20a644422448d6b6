"""The trust page says of every flag whether it may be used, worst first, and lets no foreign text through."""

import re
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from exd_dagster.audit.trust_page import FILTER, anchor, by_urgency, trust_page
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.config import FlagId

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
NOW = START + timedelta(days=21)


def row(key: str = "checkout", *, trusted: bool | None = True, **more: object) -> TrustRow:
    values = {"iteration_start": START, "sentence": f"about {key}", **more}
    return TrustRow(flag=FlagId("shop", "production", key), trusted=trusted, **values)


class Page(HTMLParser):
    """Every start tag with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def page(*rows: TrustRow) -> Page:
    return Page(trust_page(rows, written_at=NOW))


def test_the_worst_standing_comes_first() -> None:
    rows = [
        row("healthy"),
        row("observed", failing=("srm",), mode="observe"),
        row("waived", failing=("srm",), waived_by="ada"),
        row("unknown", trusted=None),
        row("over", trusted=False, contained=True, since=NOW),
        row("broken", trusted=False, since=START),
        row("just-broken", trusted=False, since=NOW - timedelta(hours=1)),
    ]
    order = [r.flag.key for r in by_urgency(rows)]
    assert order == ["just-broken", "broken", "over", "unknown", "waived", "observed", "healthy"]


def test_rows_of_equal_urgency_are_in_order_of_name_whatever_order_they_came_in() -> None:
    rows = [row("b"), row("a"), row("c")]
    assert trust_page(rows, written_at=NOW) == trust_page(rows[::-1], written_at=NOW)
    assert [r.flag.key for r in by_urgency(rows)] == ["a", "b", "c"]


def test_a_flag_that_could_not_be_checked_is_not_reported_as_trusted() -> None:
    shown = page(row(trusted=None))
    assert "Not checked" in shown.text
    assert "Trusted" not in shown.text


def test_every_flag_has_an_anchor_and_its_newest_iteration_holds_it() -> None:
    later = START + timedelta(days=7)
    ids = [
        attributes["id"]
        for tag, attributes in page(
            row("a flag/ü"), row("checkout", sentence="old"), row("checkout", iteration_start=later)
        ).tags
        if tag == "article"
    ]
    assert set(ids) == {
        anchor(FlagId("shop", "production", "a flag/ü")),
        "shop/production/checkout",
        "shop/production/checkout@2026-03-01T00",
    }
    assert all(re.fullmatch(r"\S+", name) for name in ids)


def test_each_fact_of_a_failing_flag_is_on_the_page() -> None:
    shown = page(
        row(
            trusted=False,
            sentence="treatment got 47.3 % of 120,431 units",
            failing=("srm", "sequential_srm"),
            since=START + timedelta(days=3),
            usable_until=START + timedelta(days=3),
            audited_through=NOW,
            discovery=True,
            owners=("team:checkout",),
            run_url="https://dagster.example/runs/1",
        )
    )
    for fact in (
        "treatment got 47.3 % of 120,431 units",
        "srm, sequential_srm",
        "2026-03-04 00:00 UTC",
        "2026-03-22 00:00 UTC",
        "e-BH",
        "team:checkout",
    ):
        assert fact in shown.text
    assert "https://dagster.example/runs/1" in shown.all("href")


def test_a_waiver_names_who_and_until_when() -> None:
    shown = page(row(failing=("srm",), waived_by="ada@example.com", waived_until=NOW))
    assert "by ada@example.com until 2026-03-22 00:00 UTC" in shown.text


def test_a_fault_from_the_first_hour_leaves_no_hour_usable() -> None:
    assert "no hour is usable" in page(row(trusted=False, usable_until=START)).text


def test_foreign_text_cannot_become_markup() -> None:
    evil = "\"'><script>alert(1)</script>{x}"
    shown = page(
        row(
            evil,
            sentence=evil,
            owners=(evil,),
            failing=(evil,),
            waived_by=evil,
            run_url=f"https://host/{evil}",
            picture="<svg>",
        )
    )
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert shown.text.count(evil) >= 4


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "vbscript:x"])
def test_a_run_address_of_another_scheme_is_no_link(url: str) -> None:
    assert url not in page(row(run_url=url)).all("href")


def test_the_page_requests_nothing() -> None:
    html = trust_page([row(trusted=False, picture="<svg/>", run_url="https://host/runs/1")], written_at=NOW)
    shown = Page(html)
    assert all(source.startswith("data:image/svg+xml") for source in shown.all("src"))
    assert {tag for tag, _ in shown.tags} & {"link", "iframe", "object", "embed"} == set()
    assert any("default-src 'none'" in content for content in shown.all("content"))
    assert "url(" not in html
    assert "@import" not in html


def test_a_fleet_without_flags_has_a_page_that_says_so() -> None:
    assert "No flag is audited yet." in page().text


def test_only_the_script_that_filters_may_run() -> None:
    """Even markup that got through could run nothing: the policy names this script by its hash."""
    shown = page(row())
    (policy,) = [content for content in shown.all("content") if "script-src" in content]
    hashed = b64encode(sha256(FILTER.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in policy
    assert FILTER in shown.text


def test_iterations_of_a_flag_link_to_each_other() -> None:
    later = START + timedelta(days=7)
    links = page(row(), row(iteration_start=later)).all("href")
    assert links.count("#shop/production/checkout@2026-03-01T00") == 2
    assert links.count("#shop/production/checkout") == 2


def test_a_row_links_to_the_checks_of_its_flag() -> None:
    address = "https://dagster.example/assets/experiments/checkout_bins?view=checks"
    assert address in page(row(asset_url=address)).all("href")


def test_every_owner_can_be_chosen_once() -> None:
    shown = page(row("a", owners=("team:b", "team:a")), row("b", owners=("team:b",)))
    assert [attrs["value"] for tag, attrs in shown.tags if tag == "option"] == ["", "team:a", "team:b"]
