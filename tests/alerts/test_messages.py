"""Every message in every form, as it is sent: golden files, one per case and channel.

To renew them after a change that is meant: `EXD_GOLDEN=write python -m pytest tests/alerts/test_messages.py`.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exd_dagster.alerts.channels.email_message import email_message, html_body
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.blocks import (
    BLOCK_LIMIT,
    HEADER_LIMIT,
    SECTION_LIMIT,
    slack_blocks,
    slack_summary,
    slack_text,
)
from exd_dagster.alerts.channels.webhook import payload
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.messages.links import Links
from exd_dagster.alerts.messages.message import HEADLINE, Message, Section, plain_text
from exd_dagster.alerts.model import Alert, AlertState, Incident, OutboxEntry
from exd_dagster.alerts.policy import digest
from exd_dagster.alerts.policy.unmonitored import FLAG_LEFT
from exd_dagster.config import FlagId
from tests.alerts.make import NOW, alert, check, flag

GOLDEN = Path(__file__).parent / "golden"
EVIL = "<!channel> <https://evil|click> & `x` *b* _i_ ~s~ <img src=x onerror=1> \r\nBcc: a@b =HYPERLINK(1)"
SPLIT = alert()
DRIFT = alert(
    "sequential_srm",
    anytime_p_value=1.1e-8,
    log_e_value=18.3,
    change_point={"hour": "2026-03-04T14:00:00Z"},
    causes=[
        "Chrome 122 holds 91 % of the excess: 58.9 % of its 3,120 units got on.",
        {"sentence": "Only requests through edge-cache differ.", "share": 0.9},
    ],
)
DROP = replace(
    alert("traffic_drop"),
    sentence="Traffic of the last 6 h is 20 % of what its hours of the week expect.",
    facts={
        "latest_volume": 812,
        "expected_volume": 4060.2,
        "p_value": 0.0,
        "threshold": 2.5e-05,
        "bad_from": "2026-03-04T20:00:00Z",
        "usable_until": "2026-03-04T20:00:00Z",
        "audited_through": "2026-03-05T02:00:00Z",
        "state": "ongoing",
    },
)
DEAD_ARM = replace(
    alert(
        expected={"control": 0.5, "treatment": 0.5},
        observed={"control": 6600, "treatment": 3400},
        dead_arms={"treatment": "2026-03-04T14:00:00Z"},
    ),
    sentence="treatment gets no unit since 2026-03-04 14:00 UTC. SRM: treatment got 34 % of 10,000 units, "
    "50 % declared (p < 1e-10).",
)
UNDECLARED = replace(
    alert(
        reason="undeclared_variant", undeclared={"holdout": 140}, observed={"off": 4930, "on": 4930}, n=9860
    ),
    sentence="Undeclared variant holdout: 140 units (1.4 %); declare it, ignore it, or find what serves it.",
)
ZERO_SHARE = replace(
    alert(
        reason="zero_share_variant",
        zero_share={"on": 200},
        expected={"off": 1.0},
        observed={"off": 9800},
        n=9800,
    ),
    sentence="Declared with 0 %, variant on got 200 units (2 %); add a phase if intended, or find who "
    "serves it.",
)
SHIFT = alert(
    change={
        "after": {"off": 0.38, "on": 0.62},
        "declared": {"off": 0.5, "on": 0.5},
        "hour": "2026-03-04T14:00:00Z",
    }
)
_SEGMENT = {
    "segment": "sdk_version = 4.2.0",
    "variant": "treatment",
    "share": 0.33,
    "declared_share": 0.5,
    "unit_share": 0.08,
    "usable_without": ["sdk_version = 4.2.0"],
    "bad_from": "2026-03-04T14:00:00Z",
}
SEGMENT = replace(
    alert("segment_srm"),
    sentence="Only sdk_version = 4.2.0: treatment 33 % of 1,900 units since about 2026-03-04 14:00 UTC, 50 % "
    "declared, elsewhere 50.1 %; 8 % of the flag's units; usable without sdk_version = 4.2.0.",
    facts={**_SEGMENT, "state": "ongoing", "usable_until": "2026-03-04T14:00:00Z", "alpha": 0.001},
)
SPLIT_OF_SEGMENT = alert("sequential_srm", segment_fault=_SEGMENT)
SEGMENT_TRAFFIC = replace(
    DROP,
    check="segment_traffic",
    sentence="browser = Safari: traffic fell to 3 % of its share of the flag (6 h window, 40 of 1,333 units) "
    "since 2026-03-04 20:00 UTC, while the rest was normal.",
    facts={**DROP.facts, "part": "browser = Safari", "latest_volume": 40, "expected_volume": 1333.0},
)
NO_TRAFFIC = replace(
    DROP,
    sentence="Traffic fell to 0 % of the expected level (6 h window, 0 of 4,060 units).",
    facts={**DROP.facts, "latest_volume": 0.0},
)
CONTAINED = alert(state="contained", bad_until="2026-03-05T01:00:00Z")
HOSTILE = replace(
    alert(expected={EVIL: 0.5, "\u202egnp": 0.5}, observed={EVIL: 5300, "\u202egnp": 4700}),
    flag=FlagId("", "", EVIL),
    sentence=f"{EVIL} got 53.0 % of the units.",
)
UNCHECKED = replace(
    alert(), alert_type="NOT_CHECKED", sentence="", facts={"reason": "the run ended without an answer"}
)
FLEET = [alert(key=f"flag-{i:02d}") for i in range(12)]
CONTEXT = Context(
    links=Links("https://dagster.example.com"),
    blocked={"checkout": ["reports/checkout_report", "reports/weekly"]},
)

CASES: dict[str, tuple[str, Sequence[Alert], str]] = {
    "fire": ("fire", [SPLIT], ""),
    "fire_two_checks": ("fire", [SPLIT, DRIFT], ""),
    "fire_traffic_drop": ("fire", [DROP], ""),
    "fire_dead_arm": ("fire", [DEAD_ARM], ""),
    "fire_undeclared": ("fire", [UNDECLARED], ""),
    "fire_zero_share": ("fire", [ZERO_SHARE], ""),
    "fire_shift": ("fire", [SHIFT], ""),
    "fire_segment": ("fire", [SEGMENT], ""),
    "fire_split_of_segment": ("fire", [SPLIT_OF_SEGMENT], ""),
    "fire_segment_traffic": ("fire", [SEGMENT_TRAFFIC], ""),
    "fire_no_traffic": ("fire", [NO_TRAFFIC], ""),
    "fire_many_flags": ("fire", FLEET, ""),
    "fire_hostile": ("fire", [HOSTILE], ""),
    "remind": ("remind", [SPLIT], ""),
    "escalate": ("escalate", [SPLIT], ""),
    "contained": ("contained", [CONTAINED], ""),
    "fire_again": (
        "fire",
        [SPLIT],
        "monitored again and still failing; previously sent on 2026-03-04 16:00 UTC, not monitored since "
        "2026-03-04 20:00 UTC",
    ),
    "not_monitored": ("not_monitored", [SPLIT, DRIFT], FLAG_LEFT),
    "not_monitored_many_flags": ("not_monitored", FLEET[:3], FLAG_LEFT),
    "resolve": ("resolve", [SPLIT, DRIFT], "The corrected bins pass every check"),
    "resolve_waived": ("resolve", [SPLIT], "Waived by ana until 2026-04-01T00:00:00Z; reports run"),
    "not_checked": ("not_checked", [UNCHECKED], "the run ended without an answer"),
    "not_checked_many_flags": (
        "not_checked",
        [replace(UNCHECKED, flag=flag(f"flag-{i}"), id=f"{i}") for i in range(3)],
        "source_silent",
    ),
    "outage": ("outage", [replace(DROP, flag=flag(f"flag-{i}"), id=f"{i}") for i in range(3)], ""),
    "shutoff": ("shutoff", [SPLIT], ""),
    "test": (
        "test",
        [replace(SPLIT, alert_type="TEST_ALERT", sentence="This is a test of the alert path.")],
        "",
    ),
    "digest": ("digest", [], ""),
    "digest_all_well": ("digest", [], ""),
    "dead_letter": ("dead_letter", [], "Undelivered: 2 messages to slack-growth"),
}


def lines_of(case: str) -> tuple[str, digest.Lines]:
    """Headline and lines of the cases that bring their own."""
    if case == "dead_letter":
        why = "Slack answered token_revoked: reinstall the Slack app and set its new token"
        return CASES[case][2], (("Why", why), ("Not delivered", "fire: srm of checkout"))
    if case == "digest_all_well":
        found = [check(name, "pass", key=key) for name in ("srm", "traffic_drop") for key in ("a", "b")]
        return digest.headline(found), digest.lines(AlertState(), found, (), NOW)
    found = [
        check(key="new"),
        check(key="old"),
        check("sequential_srm", key="old", state="contained"),
        check(key="quiet", severity="WARN"),
        replace(
            check(verdict="not_checked", key="crashed"), facts={"reason": "the run ended without an answer"}
        ),
        replace(check(verdict="insufficient", key="young"), sentence="42 of the 100 units it needs."),
        check(verdict="pass", key="well"),
    ]
    incidents = {
        "new": Incident(id="1", flag=flag("new"), opened_at=NOW, notified_at=NOW),
        "old": Incident(
            id="2", flag=flag("old"), opened_at=NOW - timedelta(days=3), notified_at=NOW - timedelta(days=3)
        ),
    }
    return digest.headline(found), digest.lines(AlertState(incidents=incidents), found, (), NOW)


def notification(case: str) -> Notification:
    reason, alerts, note = CASES[case]
    listed: digest.Lines = ()
    if not alerts:
        note, listed = lines_of(case)
    entry = OutboxEntry(
        id="0123456789abcdef" * 2,
        destination="any",
        channel="webhook",
        reason=reason,
        alerts=tuple(a.id for a in alerts),
        incidents=("incident-1",) if alerts and reason != "test" else (),
        note=note,
        lines=listed,
        created_at=NOW + timedelta(hours=3),
        next_attempt_at=NOW,
    )
    message = compose(entry, AlertState(alerts={a.id: a for a in alerts}), CONTEXT)
    return Notification(
        id=entry.id,
        reason=entry.reason,
        message=message,
        alerts=tuple(alerts),
        created_at=entry.created_at,
    )


def written(reason: str, *alerts: Alert) -> Message:
    """Return the message of one incident with these alerts."""
    named = {f"{number}": replace(alert, id=f"{number}") for number, alert in enumerate(alerts)}
    entry = OutboxEntry(
        id="0", destination="any", channel="email", reason=reason, alerts=tuple(named),
        created_at=NOW, next_attempt_at=NOW,
    )  # fmt: skip
    return compose(entry, AlertState(alerts=named), CONTEXT)


def rendered(case: str) -> dict[str, str]:
    """Return the text of each form by file ending."""
    reported = notification(case)
    slack = {"text": slack_summary(reported.message), "blocks": slack_blocks(reported.message)}
    forms = {
        "slack.json": json.dumps(slack, indent=1, ensure_ascii=False),
        "txt": plain_text(reported.message),
        "html": html_body(reported.message),
    }
    if len(reported.alerts) <= 1:
        forms["webhook.json"] = json.dumps(payload(reported), indent=1, ensure_ascii=False, sort_keys=True)
    return forms


@pytest.mark.parametrize("case", CASES)
def test_every_message_reads_as_its_golden_file(case):
    for ending, text in rendered(case).items():
        path = GOLDEN / f"{case}.{ending}"
        if os.environ.get("EXD_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.rstrip("\n") + "\n")
        assert text.rstrip("\n") + "\n" == path.read_text(), path.name


def test_no_golden_file_is_left_over():
    expected = {f"{case}.{ending}" for case in CASES for ending in rendered(case)}
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("case", CASES)
def test_a_headline_has_at_most_80_characters(case):
    assert len(notification(case).message.headline) <= HEADLINE


def keeps_within_slacks_limits(message: Message) -> bool:
    """Lengths in UTF-16 units."""
    blocks = slack_blocks(message)
    total = 0
    for block in blocks:
        for text in [block["text"]] if "text" in block else block["elements"]:
            size = len(text["text"].encode("utf-16-le")) // 2
            total += size
            if not 0 < size <= (HEADER_LIMIT if block["type"] == "header" else SECTION_LIMIT):
                return False
    return len(blocks) <= BLOCK_LIMIT and total <= 13_000


@pytest.mark.parametrize("case", CASES)
def test_a_message_keeps_within_slacks_limits(case):
    assert keeps_within_slacks_limits(notification(case).message)


@pytest.mark.parametrize("name", ["v" * 256, "ё" * 256, "🚦" * 256, "<&>" * 85])
@pytest.mark.parametrize("lines", [1, 25, 175])
def test_names_of_any_length_and_script_keep_within_slacks_limits(name, lines):
    points = tuple(f"{name} {i}: srm, since 2026-03-04 14:00 UTC" for i in range(lines))
    sections = (Section(heading="Newly failing", points=points), *(Section(text=name) for _ in range(60)))
    message = Message(id="1" * 32, status="digest", headline=name, lead=name, sections=sections)
    assert keeps_within_slacks_limits(message)
    assert "too long for Slack" in json.dumps(slack_blocks(message), ensure_ascii=False)


def test_a_long_list_goes_over_several_blocks_instead_of_being_cut():
    points = tuple(f"{'k' * 256} {i}" for i in range(25))
    message = Message(id="1", status="digest", headline="x", sections=(Section(points=points),))
    assert all(point in json.dumps(slack_blocks(message)) for point in points)


def test_a_mail_of_a_name_of_any_length_and_script_has_a_subject_and_lines_within_the_limits_of_mail():
    long = replace(SPLIT, flag=flag("🚦ёv" * 90), sentence="ё" * 3000)
    message = Message(id="1", status="firing", headline=long.flag.key, lead=long.sentence)
    mail = email_message(message, "exd@example.com", ["a@example.com"], NOW)
    assert len(str(mail["Subject"])) <= 150
    assert max(len(line) for line in mail.as_bytes().splitlines()) <= 998


def test_a_hostile_flag_is_only_ever_text():
    """Scenario 36: no mention, no link, no tag, no header, in any form."""
    reported = notification("fire_hostile")
    slack = json.dumps(
        [slack_summary(reported.message), slack_text(reported.message), slack_blocks(reported.message)]
    )
    assert re.findall(r"<(?!https://dagster\.example\.com/)", slack) == []
    page = html_body(reported.message)
    assert "<img" not in page
    assert "<!channel" not in page
    mail = email_message(reported.message, "exd@example.com", ["a@example.com"], NOW)
    assert "\nBcc:" not in mail.as_string()
    assert mail["Bcc"] is None
    assert "\u202e" not in page + slack + plain_text(reported.message)


def test_people_read_who_blocks_what_and_what_to_do():
    text = plain_text(notification("fire").message)
    for part in (
        "53% vs 50% expected",
        "on got 53.0 % of 10,000 units where 50 % were declared.",
        "2e-09 (limit 0.001)",
        "10,000",
        "2026-03-04 14:00 UTC",
        "reports/checkout_report, reports/weekly",
        "exd-dagster decide waive --flag checkout",
        "https://dagster.example.com/assets/experiments/checkout_bins?view=checks&checkDetail=srm",
    ):
        assert part in text


def test_a_link_to_a_partition_has_the_key_of_its_grain():
    asset, hour = ("experiments", "checkout_bins"), NOW
    assert Links("https://x", "hour").of(asset, "srm", hour)[1][1].endswith("partition=2026-03-05-03%3A00")
    assert Links("https://x", "day").of(asset, "srm", hour)[1] == (
        "First bad day",
        "https://x/assets/experiments/checkout_bins?view=partitions&partition=2026-03-05",
    )


def test_likely_causes_come_with_their_evidence():
    text = plain_text(notification("fire_two_checks").message)
    assert "Chrome 122 holds 91 % of the excess" in text
    assert "Only requests through edge-cache differ." in text


def test_a_p_value_too_small_to_store_reads_as_a_bound():
    assert "< 1e-300" in plain_text(notification("fire_traffic_drop").message)


def test_a_long_name_is_cut_in_the_headline_and_the_key_fact_is_not():
    assert notification("fire_hostile").message.headline.endswith(" 47% vs 50% expected")


def test_a_message_that_says_not_checked_says_nothing_of_health():
    message = notification("not_checked").message
    assert message.headline.startswith("Not checked")
    assert message.status == "not_checked"
    assert "neither pass nor fail" in message.lead


@pytest.mark.parametrize(
    ("reported", "headline", "lead", "step"),
    [
        (DEAD_ARM, "SRM on checkout: treatment gets nothing since 4 Mar 14:00 UTC",
         "treatment gets no user at all since 2026-03-04 14:00 UTC", "the rule that serves treatment"),
        (UNDECLARED, "SRM on checkout: undeclared holdout, 1.4% of units",
         "Users get holdout, which was never declared", "Find who serves holdout"),
        (ZERO_SHARE, "SRM on checkout: declared with 0%, yet served: on, 2% of units",
         "Users get on, whose declared share is 0 %", "Find who still serves on"),
        (SHIFT, "SRM on checkout: on 62% vs 50% expected since 4 Mar 14:00 UTC",
         "Users are not split between the variants as declared", "Compare how each variant is served"),
        (NO_TRAFFIC, "Traffic drop on checkout: no unit since 4 Mar 20:00 UTC",
         "No user reaches this flag since 2026-03-04 20:00 UTC", "whether the flag was removed"),
        (DROP, "Traffic drop on checkout: 20% of the expected volume", "Far fewer users", "still evaluated"),
    ],
)  # fmt: skip
def test_headline_first_sentence_and_next_step_fit_the_kind_of_the_fault(reported, headline, lead, step):
    message = written("fire", reported)
    assert message.headline == headline
    assert message.lead.startswith(lead)
    (steps,) = [section.points for section in message.sections if section.heading == "What to do next"]
    assert step in steps[0]


def test_of_several_checks_the_worst_gives_headline_and_first_sentence():
    message = written("fire", SHIFT, NO_TRAFFIC)
    assert message.headline == "Traffic drop on checkout: no unit since 4 Mar 20:00 UTC"


def test_a_check_without_an_answer_says_where_to_look():
    late = replace(UNCHECKED, facts={"reason": "nothing_landed"})
    for reported, step in ((late, "Look at the loader of the log"), (UNCHECKED, "Open the run in Dagster")):
        assert any(step in p for section in written("not_checked", reported).sections for p in section.points)


def test_a_headline_too_long_for_namespace_and_environment_keeps_the_whole_key():
    failing = alert("srm", flag=flag("new-recommendations-in-the-basket", "shop", "production"))
    entry = OutboxEntry(
        id="e",
        destination="a",
        channel="slack",
        reason="fire",
        alerts=(failing.id,),
        created_at=NOW,
        next_attempt_at=NOW,
    )
    told = compose(entry, AlertState(alerts={failing.id: failing}), Context())
    assert len(told.headline) <= HEADLINE
    assert "new-recommendations-in-the-basket:" in told.headline
    assert "(" not in told.headline
    facts = dict(fact for section in told.sections for fact in section.facts)
    assert facts["Flag"] == "new-recommendations-in-the-basket (shop/production)"
