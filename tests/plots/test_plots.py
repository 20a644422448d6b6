"""Pictures are small, deterministic, safe with foreign names, and show what the bins and the verdict say."""

import re
from base64 import b64decode
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, FlagId, Phase
from exd_dagster.plots import (
    as_markdown_image,
    parts_plot,
    segments_plot,
    sparkline,
    split_plot,
    traffic_plot,
)
from exd_dagster.plots.svg import ARMS, BLUE, FAULT, INK, straightened
from exd_dagster.stats.segments.traffic import PartRow, SegmentTrafficVerdict
from exd_dagster.stats.segments.verdict import SegmentRow, SegmentSrmVerdict
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test
from exd_dagster.stats.verdict import Verdict

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
PASS = Verdict(check="srm", verdict="pass")
LEVEL = TrafficVerdict(check="traffic_drop", verdict="pass")
SVG = "{http://www.w3.org/2000/svg}"


def flag_of(*shares: float, **more: object) -> FlagAudit:
    names = ["control", *(f"arm{i}" for i in range(1, len(shares)))]
    return FlagAudit(key="checkout", split=dict(zip(names, shares, strict=True)), start=START, **more)


def bins_of(flag: FlagAudit, new_units: object, *, delivered: object = True) -> FlagBins:
    counts = np.asarray(new_units, np.int64)
    known = np.broadcast_to(np.asarray(delivered), len(counts))
    return FlagBins(FlagId("", "", flag.key), flag.variants, START, counts, counts, counts, known)


def steady(hours: int, *counts: int) -> np.ndarray:
    return np.tile(counts, (hours, 1))


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def lines(svg: str, color: str) -> list[str]:
    return [
        p.get("d", "") for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if p.get("stroke") == color
    ]


def picture(markdown: str) -> str:
    found = re.fullmatch(r"!\[[^\]]*\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found, markdown
    return b64decode(found[1]).decode()


def failing(since_hour: int, until_hour: int | None = None, *, usable_hours: int | None = None) -> Verdict:
    return Verdict(**_fault(since_hour, until_hour, usable_hours))


def dropped(since_hour: int, until_hour: int | None = None) -> TrafficVerdict:
    return TrafficVerdict(**_fault(since_hour, until_hour, None))


def _fault(since: int, until: int | None, usable: int | None) -> dict:
    hours = {"bad_from": since, "bad_until": until, "usable_until": usable}
    instants = {name: START + timedelta(hours=h) for name, h in hours.items() if h is not None}
    return {"check": "srm", "verdict": "fail", "severity": "ERROR", **instants}


@pytest.mark.parametrize(("hours", "arms"), [(1, 2), (30, 3), (504, 2), (4000, 4), (4000, 12)])
def test_a_split_picture_is_valid_svg_of_at_most_6_kb(hours: int, arms: int) -> None:
    flag = flag_of(*[1 / arms] * arms)
    rng = np.random.default_rng(7)
    bins = bins_of(flag, rng.poisson(50 * rng.random((hours, 1)) + 1, (hours, arms)))
    svg = split_plot(bins, flag, failing(hours // 2, hours))
    assert ElementTree.fromstring(svg).get("height") == "160"
    assert len(as_markdown_image(svg, "split of checkout")) <= 6_000


@pytest.mark.parametrize("hours", [1, 100, 167, 169, 504, 4000])
def test_a_traffic_picture_is_valid_svg_of_at_most_6_kb(hours: int) -> None:
    bins = bins_of(flag_of(0.5, 0.5), np.random.default_rng(7).poisson(2_000, (hours, 2)))
    scanned = traffic_drop_test(bins.units.sum(axis=1)).scan
    svg = traffic_plot(bins, flag_of(0.5, 0.5), replace(dropped(hours // 2, hours), scan=scanned))
    assert ElementTree.fromstring(svg).get("height") == "128"
    assert len(as_markdown_image(svg, "traffic of checkout")) <= 6_000


@pytest.mark.parametrize("hours", [2, 3, 100, 4000])
def test_a_sparkline_has_under_1000_characters(hours: int) -> None:
    bins = bins_of(flag_of(0.5, 0.5), np.random.default_rng(7).poisson(900, (hours, 2)))
    markdown = sparkline(bins, failing(max(hours - 6, 0)))
    assert len(markdown) < 1_000
    assert len(ElementTree.fromstring(picture(markdown))) > 0


@given(
    shares=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    hours=st.integers(0, 60),
    change=st.integers(1, 59),
    since=st.integers(-5, 70),
    seed=st.integers(0, 10**6),
)
def test_whatever_was_counted_the_pictures_are_valid(
    shares: list[int], hours: int, change: int, since: int, seed: int
) -> None:
    split = [share / sum(shares) for share in shares]
    later = dict(zip(flag_of(*split).variants, split[::-1], strict=True))
    flag = flag_of(*split, phases=(Phase(start=START + timedelta(hours=change), split=later),))
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0, 0.1, 10, 1e7], (hours, 1)), (hours, len(split)))
    bins = bins_of(flag, counts, delivered=rng.random(hours) < 0.8)
    for svg in (split_plot(bins, flag, failing(since)), traffic_plot(bins, flag, dropped(since))):
        assert "nan" not in svg.lower()
        assert not svg or ElementTree.fromstring(svg).tag == f"{SVG}svg"
    assert len(sparkline(bins, failing(since))) < 1_000


def test_the_same_bins_and_verdict_give_the_same_picture() -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(300, 50, 50))
    assert split_plot(bins, flag, failing(9)) == split_plot(bins, flag, failing(9))
    assert traffic_plot(bins, flag, LEVEL) == traffic_plot(bins, flag, LEVEL)


def test_foreign_names_cannot_leave_their_place() -> None:
    flag = FlagAudit(key="<b>&\x00", split={"<script>": 0.5, 'a"b]\n(': 0.5}, start=START)
    bins = bins_of(flag, steady(3, 50, 50))
    svg = split_plot(bins, flag, PASS)
    assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))
    assert picture(as_markdown_image(svg, "](http://x) <b>\n![")) == svg


def test_of_many_arms_those_that_differ_most_are_drawn_in_declared_order() -> None:
    flag = flag_of(*[0.125] * 8)
    bins = bins_of(flag, steady(48, 100, 100, 160, 100, 40, 100, 130, 70))
    named = [label.split()[0] for label in words(split_plot(bins, flag, PASS)) if "/ 12.5 %" in label]
    assert sorted(named) == ["arm2", "arm4", "arm6", "arm7"]


def test_a_label_gives_the_observed_and_the_declared_share() -> None:
    flag = flag_of(0.5, 0.5)
    svg = split_plot(bins_of(flag, steady(24, 527, 473)), flag, PASS)
    assert "arm1 47.3 % / 50 %" in words(svg)


def test_a_ramp_that_keeps_each_declared_split_stays_at_its_share() -> None:
    ramp = Phase(start=START + timedelta(hours=10), split={"control": 0.5, "arm1": 0.5})
    flag = flag_of(0.9, 0.1, phases=(ramp,))
    bins = bins_of(flag, np.vstack([steady(10, 90, 10), steady(1, 80, 20), steady(10, 50, 50)]))
    assert {"control 70 % / 70 %", "arm1 30 % / 30 %"} <= set(words(split_plot(bins, flag, PASS)))


def test_the_hours_in_which_a_change_is_taken_up_are_grey_and_are_not_compared() -> None:
    ramp = Phase(start=START + timedelta(hours=9.5), split={"control": 0.5, "arm1": 0.5})
    flag = flag_of(0.9, 0.1, phases=(ramp,))
    counts = np.vstack([steady(9, 90, 10), steady(2, 1000, 0), steady(9, 50, 50)])
    late = split_plot(bins_of(flag, counts), flag, PASS)
    assert {"control 70 % / 70 %", "1,800 units", "units so far; grey: change taken up"} <= set(words(late))
    panel = [p.get("d") for p in ElementTree.fromstring(late).iter(f"{SVG}path") if p.get("fill") == INK]
    assert panel == ["M464 36H548V280H464z"]  # hours 9 to 11 of 20
    at_once = flag_of(0.9, 0.1, phases=(ramp,), uptake="0m")
    assert "1,800 units" not in words(split_plot(bins_of(at_once, counts), at_once, PASS))


def test_only_the_current_iteration_is_counted() -> None:
    again = Phase(start=START + timedelta(hours=10), split={"control": 0.5, "arm1": 0.5}, rerandomized=True)
    flag = flag_of(0.5, 0.5, phases=(again,))
    bins = bins_of(flag, np.vstack([steady(11, 900, 100), steady(10, 50, 50)]))
    assert "1,000 units" in words(split_plot(bins, flag, PASS))


def test_a_mid_flight_fault_is_named_by_its_hour_and_a_fault_from_the_start_as_such() -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(72, 50, 50))
    assert "since about 2 Mar 14:00 UTC" in words(split_plot(bins, flag, failing(38)))
    assert "since the start" in words(split_plot(bins, flag, failing(0)))


def test_a_contained_fault_is_named_with_its_end() -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(72, 50, 50))
    assert "from the start to 2 Mar 00:00 UTC" in words(split_plot(bins, flag, failing(0, 24)))


def test_hours_that_may_be_at_fault_are_shaded_too() -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(100, 50, 50))
    left_edges = [
        re.search(rf'd="M(\d+) \d+H\d+V\d+H\d+z" fill="{FAULT}"', split_plot(bins, flag, verdict))[1]
        for verdict in (failing(50), failing(50, usable_hours=40))
    ]
    assert int(left_edges[1]) < int(left_edges[0])


def test_the_band_of_a_healthy_split_is_that_of_its_smallest_arm_and_colored_like_it() -> None:
    flag = flag_of(0.95, 0.05)
    bins = bins_of(flag, steady(100, 949, 51))
    band = re.search(r'z" fill="(#\w+)" opacity', split_plot(bins, flag, PASS))
    assert band[1] == ARMS[1]


@pytest.mark.parametrize("draw", ["split", "traffic"])
def test_a_passing_verdict_marks_no_hours(draw: str) -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(72, 50, 50))
    svg = split_plot(bins, flag, PASS) if draw == "split" else traffic_plot(bins, flag, LEVEL)
    assert FAULT not in svg


@pytest.mark.parametrize(
    ("flag", "counts"),
    [
        (FlagAudit(key="checkout", start=START), np.zeros((5, 0))),
        (flag_of(0.5, 0.5), np.zeros((5, 2))),
        (flag_of(0.5, 0.5), np.zeros((0, 2))),
        (flag_of(1.0, 0.0), np.array([[90, 7]])),
    ],
    ids=["no declared split", "no unit", "no hour", "one arm has every unit"],
)
def test_where_there_is_nothing_to_compare_there_is_no_split_picture(
    flag: FlagAudit, counts: np.ndarray
) -> None:
    assert as_markdown_image(split_plot(bins_of(flag, counts), flag, PASS), "split") == ""


def test_hours_in_which_nothing_was_delivered_leave_a_gap() -> None:
    flag = flag_of(0.5, 0.5)
    delivered = np.ones(48, bool)
    delivered[20:23] = False
    (line,) = lines(traffic_plot(bins_of(flag, steady(48, 50, 50), delivered=delivered), flag, LEVEL), BLUE)
    assert line.count("M") == 2


def test_traffic_is_expected_only_once_the_test_has_learned() -> None:
    flag = flag_of(0.5, 0.5)
    bands = []
    for hours in (168, 239, 400):
        bins = bins_of(flag, steady(hours, 50, 50))
        svg = traffic_plot(bins, flag, traffic_drop_test(bins.units.sum(axis=1)))
        bands.append(len(re.findall(r'd="[^"]+z" fill', svg)))
    assert bands == [0, 0, 1]


def test_the_volumes_of_the_verdict_are_written_beside_the_last_hour() -> None:
    flag = flag_of(0.5, 0.5)
    bins = bins_of(flag, steady(400, 50, 50))
    verdict = TrafficVerdict(
        check="traffic_drop", verdict="pass", latest_volume=1203, expected_volume=6010, window=6
    )
    assert {"1,203 seen in 6 h", "6,010 expected"} <= set(words(traffic_plot(bins, flag, verdict)))


def shades(svg: str) -> int:
    return svg.count(f'fill="{INK}" opacity=".25"')


def test_a_holiday_and_an_event_are_shaded_and_named_and_their_hours_are_not_drawn_as_judged() -> None:
    """New Year's Day 2027 with its eve and bridging day, and an event two days before."""
    start = datetime(2026, 12, 27, tzinfo=timezone.utc)
    event = (start + timedelta(days=2), start + timedelta(days=2, hours=6), "launch")
    flag = FlagAudit(key="a", split={"a": 1.0}, start=start, holidays="US", events=[event])
    counts = steady(168, 50)
    bins = FlagBins(flag.id, ("a",), start, counts, counts, counts, np.ones(168, bool))
    svg = traffic_plot(bins, flag, LEVEL)
    assert {"holiday (New Year's Day)", "launch"} <= set(words(svg))
    assert shades(svg) == 2
    (judged,), greys = lines(svg, BLUE), lines(svg, INK)
    assert judged.count("M") == 3  # before, between and after
    assert any(line.count("M") == 2 for line in greys)


def test_an_event_that_is_judged_is_shaded_and_named_alone() -> None:
    event = {"start": START + timedelta(hours=30), "end": START + timedelta(hours=60), "note": "load test"}
    flag = flag_of(0.5, 0.5, events=[{**event, "judge": True}])
    svg = traffic_plot(bins_of(flag, steady(90, 50, 50)), flag, LEVEL)
    assert "load test" in words(svg)
    assert shades(svg) == 1
    assert [line.count("M") for line in lines(svg, BLUE)] == [1]


@pytest.mark.parametrize(("coverage", "label"), [(0.2, "coverage 20 %"), (None, "new phase"), (1.0, None)])
def test_a_phase_that_changes_the_coverage_is_marked(coverage: float | None, label: str | None) -> None:
    phase = Phase(start=START + timedelta(hours=40), split={"control": 0.5, "arm1": 0.5}, coverage=coverage)
    flag = flag_of(0.5, 0.5, phases=(phase,))
    svg = traffic_plot(bins_of(flag, steady(90, 50, 50)), flag, LEVEL)
    assert ("stroke-dasharray" in svg) == (label is not None)
    assert label is None or label in words(svg)


def test_one_hour_makes_no_sparkline() -> None:
    assert sparkline(bins_of(flag_of(0.5, 0.5), steady(1, 50, 50))) == ""


def test_a_sparkline_turns_red_where_the_fault_begins() -> None:
    bins = bins_of(flag_of(0.5, 0.5), steady(400, 50, 50))
    assert lines(picture(sparkline(bins, PASS)), FAULT) == []
    assert len(lines(picture(sparkline(bins, failing(390))), FAULT)) == 1
    assert lines(picture(sparkline(bins, failing(0))), BLUE) == []


@pytest.mark.parametrize("color", [INK, FAULT, *ARMS])
@pytest.mark.parametrize("page", ["#ffffff", "#0f1117"])
def test_every_color_has_contrast_on_a_light_and_on_a_dark_page(color: str, page: str) -> None:
    lighter, darker = sorted((luminance(color), luminance(page)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3.5


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60))
def test_a_line_without_its_straight_points_is_nowhere_more_than_a_unit_away(heights: list[int]) -> None:
    points = [(3 * i, y) for i, y in enumerate(heights)]
    kept = straightened(points)
    x, y = np.array(points).T
    assert np.abs(np.interp(x, *np.array(kept).T) - y).max() <= 1 + 1e-9
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_a_straight_line_needs_two_points() -> None:
    assert straightened([(i, 2 * i) for i in range(100)]) == [(0, 0), (99, 198)]


def test_what_is_left_of_the_traffic_of_each_part_is_drawn_and_the_lost_one_marked() -> None:
    lost = PartRow(
        part="browser = Safari", units=12, expected=400, low=0.8, high=1.2, failed=True, bad_from=START
    )
    kept = PartRow(part="variant = control", units=2_100, expected=2_000, low=0.9, high=1.1)
    svg = parts_plot(
        SegmentTrafficVerdict(check="segment_traffic", verdict="fail", parts_tested=5, rows=(lost, kept))
    )
    assert {"browser = Safari", "12", "3 % since 1 Mar 00:00"} <= set(words(svg))
    assert {"variant = control", "2,100", "105 %", "and 3 more segments"} <= set(words(svg))
    assert (len(lines(svg, FAULT)), len(lines(svg, BLUE))) == (1, 1)
    assert parts_plot(SegmentTrafficVerdict(check="segment_traffic", verdict="skipped")) == ""


BROKEN = {"share": 0.33, "low": 0.3, "high": 0.36, "failed": True, "bad_from": START}


class TestSegments:
    """One row per segment, those at fault marked."""

    def row(self, value: str, **more: object) -> SegmentRow:
        known = {"units": 1_234, "share": 0.5, "declared": 0.5, "low": 0.48, "high": 0.52}
        return SegmentRow(**{"dimension": "browser", "value": value, "log_e_value": 0.0, **known, **more})

    def drawn(self, *rows: SegmentRow, **more: object) -> str:
        known = {"check": "segment_srm", "verdict": "fail", "variant": "treatment", "rows": rows}
        return segments_plot(SegmentSrmVerdict(**{**known, "segments_tested": len(rows), **more}))

    def test_a_failing_segment_is_marked_with_its_share_and_since_when(self) -> None:
        svg = self.drawn(self.row("Safari", **BROKEN), self.row("Chrome"))
        assert "33 % since 1 Mar 00:00" in words(svg)
        assert {"browser = Safari", "browser = Chrome", "1,234", "50 %"} <= set(words(svg))
        assert (len(lines(svg, FAULT)), len(lines(svg, BLUE))) == (1, 1)

    def test_a_fault_that_is_past_says_from_when_to_when(self) -> None:
        row = self.row("Safari", **BROKEN, bad_until=START + timedelta(hours=30))
        assert "33 % 1 Mar 00:00 to 2 Mar 06:00" in words(self.drawn(row))

    def test_a_share_lies_left_of_the_declared_line_when_it_is_smaller(self) -> None:
        circles = [
            float(c.get("cx", ""))
            for c in ElementTree.fromstring(
                self.drawn(self.row("Safari", **BROKEN), self.row("Chrome"))
            ).iter(f"{SVG}circle")
        ]
        (declared,) = {int(line[1:].split()[0]) for line in lines(self.drawn(self.row("Chrome")), INK)}
        assert circles[0] < circles[1] == declared

    def test_more_segments_than_rows_are_counted(self) -> None:
        svg = self.drawn(*[self.row(f"v{i}") for i in range(12)], segments_tested=40)
        assert len(lines(svg, BLUE)) == 8
        assert "and 32 more segments" in words(svg)

    def test_foreign_names_stay_text_and_nothing_is_drawn_without_a_segment(self) -> None:
        assert "<script>" in "".join(words(self.drawn(self.row("<script>\u202e\x00 'x'"))))
        assert self.drawn() == ""

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_any_shares_give_valid_svg(self, share: float, declared: float, low: float, high: float) -> None:
        row = self.row("v", share=share, declared=declared, low=min(low, share), high=max(high, share))
        ElementTree.fromstring(self.drawn(row, self.row("w", declared=declared, failed=True)))
