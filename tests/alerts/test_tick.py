"""One tick after another against real servers: at least once, isolated, and never silent about a loss."""

import json
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.webhook import Webhook
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.state import AlertStateError, prune
from tests.alerts.alerting import KilledError, Office
from tests.alerts.make import HOUR, NOW, alert, check
from tests.servers.http import HttpServer, Reply, slack_answers, slack_refuses
from tests.servers.smtp import SmtpServer


def hook(server: HttpServer, name: str = "webhook") -> Webhook:
    return Webhook(name=name, url=server.url, allow_hosts=("127.0.0.1",))


def bot(server: HttpServer, name: str = "slack") -> SlackBot:
    return SlackBot(name=name, token="xoxb-1", conversation="#growth", base_url=f"{server.url}/api/")


def collector(reported: list[Notification], name: str = "callback") -> Callback:
    return Callback(name=name, function=reported.append)


def test_a_destination_that_was_down_gets_its_message_once_when_it_is_back():
    """Scenario 31: down for six hours."""
    with HttpServer(default=Reply(503)) as server:
        office = Office(hook(server))
        office.tick(check())
        for _ in range(60):
            office.tick(check(), after=timedelta(minutes=6))
        down = len(server.received)
        server.default = Reply(200)
        for _ in range(60):
            office.tick(check(), after=timedelta(minutes=6))
    assert 5 <= down <= 8
    assert len(server.received) == down + 1
    assert len({request.headers["webhook-id"] for request in server.received}) == 1
    assert [row.status for row in office.deliveries()] == ["sent"]


def test_one_broken_destination_never_delays_another():
    with HttpServer(default=Reply(500)) as broken, HttpServer() as well:
        office = Office(hook(broken, "a-broken"), hook(well, "b-well"))
        office.tick(check("srm"), check("sequential_srm"))
    assert len(well.received) == 2
    assert len(broken.received) == 1


def test_retry_after_is_honoured_for_the_whole_destination_and_the_tick_goes_on():
    """Scenario 28."""
    with HttpServer(Reply(429, "", {"Retry-After": "90"})) as server:
        office = Office(hook(server))
        office.tick(check("srm"), check("sequential_srm"), after=timedelta(seconds=60))
        office.tick(check("srm"), check("sequential_srm"), after=timedelta(seconds=60))
        assert len(server.received) == 1
        office.tick(check("srm"), check("sequential_srm"))
    assert len(server.received) == 3
    assert {row.status for row in office.deliveries()} == {"sent"}


def test_a_message_that_is_refused_for_good_is_reported_on_another_destination():
    """Scenario 30."""
    reported: list[Notification] = []
    with HttpServer(default=slack_refuses("token_revoked")) as server:
        office = Office(bot(server), collector(reported))
        office.tick(check())
    assert [(n.reason, n.message.headline) for n in reported] == [
        ("fire", "SRM on checkout: on 53% vs 50% expected"),
        ("dead_letter", "Undelivered: 1 message to slack"),
    ]
    assert "reinstall the Slack app" in reported[1].text
    assert [(row.destination, row.status) for row in office.deliveries() if row.channel == "slack"] == [
        ("slack", "dead")
    ]


def test_a_revoked_token_loses_every_waiting_message_in_one_notice():
    reported: list[Notification] = []
    with HttpServer(slack_refuses("token_revoked")) as server:
        office = Office(bot(server), collector(reported))
        office.tick(check(key="one", owners=("team:a",)), check(key="two", owners=("team:b",)))
    assert len(server.received) == 1
    assert [n.message.headline for n in reported if n.reason == "dead_letter"] == [
        "Undelivered: 2 messages to slack"
    ]


def test_a_message_undelivered_for_24_hours_is_reported_on_another_destination():
    reported: list[Notification] = []
    with HttpServer(default=Reply(503)) as server:
        office = Office(hook(server), collector(reported))
        for _ in range(50):
            office.tick(check(), after=timedelta(minutes=30))
    assert [n.reason for n in reported] == ["fire", "dead_letter", "remind"]
    assert "given up after" in reported[1].text


def test_the_death_of_a_dead_letter_notice_is_reported_to_nobody():
    with HttpServer(default=Reply(400)) as one, HttpServer(default=Reply(400)) as two:
        office = Office(hook(one, "one"), hook(two, "two"))
        for _ in range(5):
            office.tick(check())
    assert len(one.received) == len(two.received) == 2
    assert office.state.outbox == ()


def test_a_recipient_refused_for_good_is_reported_on_another_destination():
    """Scenario 31: two recipients get the mail, the third is a dead letter."""
    reported: list[Notification] = []
    with SmtpServer(**{"c@example.com": "550 no such user"}) as server:
        mail = Smtp(
            name="email",
            host="127.0.0.1",
            port=server.port,
            sender="exd@example.com",
            to=("a@example.com", "c@example.com"),
            tls="none",
        )
        office = Office(mail, collector(reported))
        office.tick(check())
    assert server.envelopes == [["a@example.com"]]
    assert "c@example.com refused: SMTP 550 no such user" in reported[-1].text


def test_a_callback_that_always_raises_is_given_up_after_three_attempts_and_reported_elsewhere():
    calls: list[Notification] = []

    def raising(notification: Notification) -> None:
        calls.append(notification)
        raise RuntimeError("broken")

    with HttpServer() as server:
        office = Office(Callback(name="callback", function=raising), hook(server))
        for _ in range(20):
            office.tick(check(), after=timedelta(minutes=5))
    assert len(calls) == 3
    assert [request.json["alert_type"] for request in server.received] == [
        "SRM_SHUTOFF_TRIGGERED",
        "DEAD_LETTER",
    ]


@pytest.mark.parametrize("dies_at", range(2, 9))
def test_a_tick_killed_at_any_write_loses_nothing_and_repeats_at_most_one_message(dies_at):
    """Scenario 32: the write of the state is where a kill matters; every message keeps its id."""
    with HttpServer() as one, HttpServer() as two:
        office = Office(hook(one, "one"), hook(two, "two"))
        office.storage.die_at = dies_at
        found = (check("srm"), check("sequential_srm"))
        for _ in range(4):
            try:
                office.tick(*found)
            except KilledError:
                continue
    received = [request.headers["webhook-id"] for request in (*one.received, *two.received)]
    assert len(set(received)) == 4
    assert len(received) <= 5
    assert {row.status for row in office.deliveries()} == {"sent"}


def test_a_state_from_a_newer_version_is_refused_untouched():
    """Scenario 33."""
    with HttpServer() as server:
        office = Office(hook(server))
        newer = json.dumps({"version": 99, "incidents": {}})
        office.storage.values[office.store.key] = newer
        with pytest.raises(AlertStateError, match="Upgrade exd_dagster"):
            office.tick(check())
    assert office.storage.values[office.store.key] == newer
    assert server.received == []


@pytest.mark.parametrize("damaged", ["{", "[]", '{"version": 1, "incidents": 5}', "zlib:nonsense"])
def test_a_damaged_state_is_refused_with_the_fix(damaged):
    office = Office(collector([]))
    office.storage.values[office.store.key] = damaged
    with pytest.raises(AlertStateError, match="exd-dagster alerts reset"):
        office.tick(check())


def test_a_lost_state_is_rebuilt_loudly_and_what_fails_is_reported_again(caplog):
    """Scenario 33: resolved checks are not reported."""
    reported: list[Notification] = []
    office = Office(collector(reported))
    office.tick(check(key="bad"), check("srm", "pass", key="good"))
    office.store.reset()
    office.tick(check(key="bad"), check("srm", "pass", key="good"), last_revision=7)
    assert [(n.reason, n.alerts[0].flag.key) for n in reported] == [("fire", "bad"), ("fire", "bad")]
    assert "the alerting state is gone" in caplog.text


def test_two_code_locations_with_the_same_sensor_name_are_reported_apart():
    office = Office(collector([]))
    office.tick(check(), home="growth")
    with pytest.raises(AlertStateError, match="Give one of them another"):
        office.tick(check(), home="search")


def test_a_tick_that_used_up_its_time_leaves_the_rest_for_the_next():
    seconds = iter(range(0, 1000, 4))
    with HttpServer() as server:
        office = Office(hook(server))
        found = [check(key=f"flag-{i}") for i in range(9)]
        office.tick(*found, timer=lambda: next(seconds))
        first = len(server.received)
        office.tick(*found)
    assert 0 < first < 9
    assert len(server.received) == 9


def test_destinations_that_stall_never_take_more_than_the_tick_has():
    with HttpServer(default=Reply(stall=True)) as server:
        senders = [replace(hook(server, f"stalls-{i}"), timeout=0.1) for i in range(9)]
        office = Office(*senders)
        office.tick(check(), timer=time.monotonic, budget=0.35)
    assert len(server.received) <= 3


def test_a_long_state_is_packed_and_read_back():
    office = Office(collector([]))
    office.tick(*(check(key=f"flag-{i:03d}") for i in range(100)))
    assert office.storage.values[office.store.key].startswith("zlib:")
    assert len(office.storage.values[office.store.key]) < 64_000
    assert len(office.state.incidents) == 100


def test_many_failures_of_one_owner_are_one_message():
    """Scenario 41."""
    with HttpServer(default=slack_answers) as server:
        office = Office(bot(server))
        office.tick(*(check(key=f"flag-{i:03d}") for i in range(200)))
    (request,) = server.received
    assert request.json["text"].startswith("🔴 200 flags of team:growth fail their checks")
    assert "+190 more flags." in json.dumps(request.json["blocks"])
    assert len(office.deliveries()) == 200


def test_a_first_audit_with_many_failing_flags_is_one_digest_on_each_destination():
    with HttpServer(default=slack_answers) as slack, HttpServer() as other:
        office = Office(bot(slack), hook(other), started=False, digest=True)
        office.tick(*(check(key=f"flag-{i:02d}") for i in range(11)))
        office.tick(*(check(key=f"flag-{i:02d}") for i in range(11)))
    assert len(slack.received) == len(other.received) == 1
    assert "11 of 11 flags failing (data to 2026-03-05 02:00 UTC)" in slack.received[0].json["text"]
    assert other.received[0].json["type"] == "exd.alert.digest"


def test_the_digest_comes_once_per_day_of_data_also_when_all_is_well():
    with HttpServer(default=slack_answers) as server:
        office = Office(bot(server), digest=True)
        for day in (5, 5, 6):
            office.tick(check("srm", "pass", audited_through=f"2026-03-{day:02d}T02:00:00Z"))
    assert [request.json["text"] for request in server.received] == [
        "📋 No failure in 1 flag (data to 2026-03-05 02:00 UTC)",
        "📋 No failure in 1 flag (data to 2026-03-06 02:00 UTC)",
    ]


def test_the_digest_waits_for_the_end_of_the_audit():
    with HttpServer(default=slack_answers) as server:
        office = Office(bot(server), digest=True)
        office.tick(check("srm", "pass"), running=True)
        assert server.received == []
        office.tick(check("srm", "pass"))
    assert len(server.received) == 1


def test_a_silent_source_is_one_message_for_all_its_flags():
    """Scenarios 17 and 22: a silent log, or a manifest that cannot be read."""
    found = [check("traffic_drop", "not_checked", key=f"flag-{i}", reason="source_silent") for i in range(7)]
    with HttpServer(default=slack_answers) as server:
        Office(bot(server)).tick(*found)
    (request,) = server.received
    assert request.json["text"].startswith("⚪ Not checked: 7 flags")
    assert "source silent" in request.json["text"]


def test_an_outage_of_the_source_is_one_message_to_people_and_named_in_the_digest():
    found = [check("traffic_drop", key=f"flag-{i}", owners=(f"team:{i}",)) for i in range(5)]
    with HttpServer(default=slack_answers) as server:
        Office(bot(server), digest=True).tick(*found)
    outage, digest = [json.dumps(request.json, ensure_ascii=False) for request in server.received]
    assert "Source outage: 5 flags lost traffic together" in outage
    assert "5 flags lost traffic together; check the log first" in digest


def test_without_a_usable_destination_nothing_counts_as_reported():
    reported: list[Notification] = []
    office = Office(collector(reported))
    setup = office.setup
    office.without("callback")
    office.tick(check())
    office.setup = setup
    office.tick(check())
    assert [n.reason for n in reported] == ["fire"]


def test_an_alert_for_an_unready_destination_goes_to_the_default():
    reported: list[Notification] = []
    with HttpServer(default=slack_answers) as server:
        routes = [{"owner": "team:growth", "to": ["slack"]}, {"to": ["callback"]}]
        office = Office(bot(server), collector(reported), routes=routes)
        office.without("slack")
        office.tick(check())
    assert [n.reason for n in reported] == ["fire"]


def test_a_destination_taken_out_of_the_configuration_is_reported_as_a_dead_letter():
    reported: list[Notification] = []
    with HttpServer(default=Reply(503)) as server:
        office = Office(hook(server), collector(reported))
        office.tick(check())
        office.without("webhook")
        office.setup = replace(office.setup, unready={})
        office.tick(check())
    assert "no longer configured" in reported[-1].text


def test_dead_messages_are_queued_again_when_a_person_asks():
    reported: list[Notification] = []
    with HttpServer(slack_refuses("is_archived"), default=slack_answers) as server:
        office = Office(bot(server), collector(reported))
        office.tick(check())
        office.store.ask_replay(office.now)
        office.tick(check())
        office.tick(check())
    assert [row.status for row in office.deliveries() if row.channel == "slack"] == ["sent"]
    assert len(server.received) == 2


def test_the_shutoff_hook_is_called_once_per_incident_with_one_id():
    with HttpServer(Reply(503)) as hook_server:
        office = Office(collector([]), hook=hook(hook_server, "on_shutoff"))
        for _ in range(5):
            office.tick(check("srm"), check("sequential_srm"))
            office.now += HOUR
    assert len(hook_server.received) == 2
    assert len({request.headers["webhook-id"] for request in hook_server.received}) == 1
    assert hook_server.received[0].json["reason"] == "shutoff"


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "assignment suspended by on_shutoff"), (503, "the flag itself was not changed")],
)
def test_people_read_suspended_only_after_the_hook_answered(status, said):
    reported: list[Notification] = []
    with HttpServer(default=Reply(status)) as hook_server:
        Office(collector(reported), hook=hook(hook_server, "on_shutoff")).tick(check())
    assert said in reported[0].text


def test_a_hook_that_becomes_ready_later_is_asked_for_the_open_incident():
    with HttpServer() as hook_server:
        office = Office(collector([]))
        office.tick(check())
        office.setup = replace(office.setup, hook=hook(hook_server, "on_shutoff"))
        office.tick(check())
        office.tick(check())
    assert len(hook_server.received) == 1


def test_a_drop_in_traffic_asks_for_no_shutoff():
    with HttpServer() as hook_server:
        Office(collector([]), hook=hook(hook_server, "on_shutoff")).tick(check("traffic_drop"))
    assert hook_server.received == []


def test_an_idle_tick_writes_nothing():
    office = Office(collector([]))
    office.tick(check("srm", "pass"))
    before = office.storage.writes
    office.tick(check("srm", "pass"))
    assert office.storage.writes == before


def test_the_state_survives_being_written_and_read():
    office = Office(collector([]))
    office.tick(check("srm"), check("traffic_drop", "not_checked"))
    assert isinstance(office.state, AlertState)
    assert office.store.load() == office.state
    assert office.state.incidents["checkout"].flag.key == "checkout"


def test_the_alert_of_an_outage_that_lasts_is_kept_until_its_end_is_told():
    told, old = alert("traffic_drop"), alert("srm")
    state = AlertState(alerts={told.id: told, old.id: old}, outage={"checkout": told.id})
    assert prune(state, NOW).alerts == {told.id: told}


def test_alerts_of_a_destination_that_cannot_be_used_go_to_the_default_route_and_no_further():
    told = {name: [] for name in ("third", "first", "default")}
    senders = [Callback(name=name, function=notes.append) for name, notes in told.items()]
    office = Office(*senders, routes=[{"check": "srm", "to": ["first"]}, {"to": ["default"]}])
    office.without("first")
    office.tick(check("srm"))
    assert {name: len(notes) for name, notes in told.items()} == {"third": 0, "first": 0, "default": 1}
