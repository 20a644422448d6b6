"""The trust page in a real browser: it asks nobody, fits a phone, and shows its pictures."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from exd_dagster.audit.trust_page import anchor, trust_page
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.plots import split_plot
from exd_dagster.stats.verdict import Verdict
from tests.e2e.browser import Tab, browser, find_chromium

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]

START = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = [
        FlagAudit(key=key, namespace="shop", split={"control": 0.5, "treatment": 0.5}, start=START)
        for key in ("checkout", "a-flag-with-the-longest-name-that-exd-allows-for-a-key-0123456789"[:63])
    ]
    failed = Verdict(check="srm", verdict="fail", bad_from=START + timedelta(hours=50))
    counts = np.full((100, 2), 50)
    rows = [
        TrustRow(
            flag=flag.id,
            iteration_start=START,
            trusted=False,
            sentence="Not trusted: treatment got 47.3 % of 120,431 units, 50 % declared.",
            picture=split_plot(
                FlagBins(flag.id, flag.variants, START, counts, counts, counts, np.ones(100, bool)),
                flag,
                failed,
            ),
        )
        for flag in flags
    ]
    path = tmp_path_factory.mktemp("page") / "flag_trust.html"
    path.write_text(trust_page(rows, written_at=START), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[Tab]:
    with browser() as tab:
        tab.open(page.as_uri())
        yield tab


def test_nothing_is_requested_but_the_file_and_its_own_pictures(tab: Tab) -> None:
    assert {url.split(":")[0] for url in tab.requests} == {"file", "data"}


def test_every_picture_is_drawn(tab: Tab) -> None:
    assert tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth)") == [640, 640]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_the_width_of_the_screen(tab: Tab, width: int) -> None:
    tab.resize(width, 800)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_shows_the_newest_hours_of_a_picture_that_is_wider(tab: Tab) -> None:
    tab.resize(390, 800)
    right = "getBoundingClientRect().right"
    ends = f"[...document.images].map(i => i.{right} <= i.parentElement.{right} + 1)"
    assert tab.evaluate("document.images[0].width > document.images[0].parentElement.clientWidth")
    assert tab.evaluate(ends) == [True, True]


def test_on_paper_it_is_black_on_white_and_no_flag_is_torn_in_two(tab: Tab) -> None:
    tab.resize(794, 1123, dark=True)
    tab.command("Emulation.setEmulatedMedia", media="print")
    style = "(({color, backgroundColor}, {breakInside}) => [color, backgroundColor, breakInside])"
    found = tab.evaluate(
        f"{style}(getComputedStyle(document.body), getComputedStyle(document.querySelector('article')))"
    )
    tab.command("Emulation.setEmulatedMedia", media="")
    assert found == ["rgb(0, 0, 0)", "rgb(255, 255, 255)", "avoid"]


def test_the_anchor_of_a_flag_leads_to_it(tab: Tab, page: Path) -> None:
    flag = FlagAudit(key="checkout", namespace="shop", start=START).id
    tab.open(f"{page.as_uri()}#{anchor(flag)}")
    assert tab.evaluate("document.querySelector('article:target h3').innerText").startswith("✕ checkout")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 flags of three teams; every hundredth is not trusted."""
    rows = [
        TrustRow(
            flag=FlagId("shop", "production", f"flag-{i:04d}"),
            iteration_start=START,
            trusted=i % 100 != 7,
            sentence="Not trusted: Safari gets no treatment." if i % 100 == 7 else "Trusted: srm passes.",
            owners=(f"team:{'abc'[i % 3]}",),
        )
        for i in range(2000)
    ]
    path = tmp_path_factory.mktemp("fleet") / "flag_trust.html"
    path.write_text(trust_page(rows, written_at=START), encoding="utf-8")
    return path


SHOWN = "[...document.querySelectorAll('article:not([hidden]) h3 a')].map(a => a.textContent)"


def typed(tab: Tab, field: str, value: str) -> None:
    tab.evaluate(
        f"(e => {{ e.value = {value!r}; e.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
        f"(document.getElementById({field!r}))"
    )


def test_of_2000_flags_words_and_owner_leave_those_that_matter(fleet: Path) -> None:
    with browser() as tab:
        tab.open(fleet.as_uri())
        assert tab.evaluate("document.getElementById('shown').value") == "2000 of 2000"
        typed(tab, "text", "safari TREATMENT")
        assert len(tab.evaluate(SHOWN)) == 20
        typed(tab, "owner", "team:b")
        found = tab.evaluate(SHOWN)
        assert found[:2] == ["flag-0007", "flag-0307"]
        assert all(int(name[-4:]) % 3 == 1 for name in found)
        assert tab.evaluate("[...document.querySelectorAll('section:not([hidden])')].map(s => s.id)") == [
            "not-trusted"
        ]


def test_a_filtered_view_can_be_sent_as_a_link(fleet: Path) -> None:
    with browser() as tab:
        tab.open(f"{fleet.as_uri()}?q=flag-0107&owner=team%3Ac")
        assert tab.evaluate(SHOWN) == ["flag-0107"]
        assert tab.evaluate("document.getElementById('owner').value") == "team:c"


def test_2000_flags_fit_a_phone_with_the_form(fleet: Path) -> None:
    with browser(320, 700) as tab:
        tab.open(fleet.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 320
