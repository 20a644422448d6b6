"""Metrics of audits and deliveries: what they say, and that both kinds of receiver can read them."""

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from exd_dagster.alerts.model import AlertState, OutboxEntry
from exd_dagster.alerts.policy.outcome import record_outcome
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.errors import DeliveryError
from exd_dagster.monitoring.metrics import (
    METRICS,
    STANDINGS,
    FlagState,
    Sample,
    flag_state,
    overdue,
    samples,
)
from exd_dagster.monitoring.otlp import OtlpMetrics
from exd_dagster.monitoring.prometheus import write_prometheus
from exd_dagster.monitoring.totals import Totals, counted
from tests.servers.http import HttpServer, Received, Reply

NOW = datetime(2026, 3, 5, 4, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def entry(name: str, destination: str = "ops", age: timedelta = HOUR) -> OutboxEntry:
    at = NOW - age
    return OutboxEntry(
        id=name, destination=destination, channel="slack", reason="fire", created_at=at, next_attempt_at=at
    )


def measured(
    *flags: FlagState, state: AlertState | None = None, totals: Totals | None = None
) -> list[Sample]:
    return samples(
        flags,
        state or AlertState(),
        totals or Totals(),
        late=False,
        healthy=True,
        audit_seconds=12.5,
        now=NOW,
    )


def values(found: list[Sample], metric: str) -> dict[tuple[str, ...], float]:
    return {tuple(s.attributes.values()): s.value for s in found if s.metric == metric}


@pytest.mark.parametrize(
    ("facts", "passed", "standing"),
    [
        ({"verdict": "pass"}, True, "trusted"),
        ({"verdict": "fail", "failing": ["srm"]}, False, "blocked"),
        ({"verdict": "pass", "failing": ["srm"]}, True, "warned"),
        ({"verdict": "pass", "failing": ["srm"], "waived_by": "ana"}, True, "waived"),
        ({"verdict": "not_checked"}, True, "not_checked"),
        ({}, None, "not_checked"),
        ({"verdict": "pass", "fresh_until": "2026-03-05T04:00:00Z"}, True, "not_checked"),
        ({"verdict": "pass", "fresh_until": "2026-03-05T04:00:01Z"}, True, "trusted"),
    ],
)
def test_the_standing_of_a_flag_is_that_of_its_trust_check(facts, passed, standing) -> None:
    assert flag_state(facts, passed, NOW, NOW).standing == standing


def test_every_standing_is_counted_and_judged_leaves_out_what_has_no_answer() -> None:
    found = measured(*(FlagState(standing=name) for name in (*STANDINGS, "blocked")))
    assert values(found, "exd.flags") == {
        ("trusted",): 1,
        ("warned",): 1,
        ("waived",): 1,
        ("blocked",): 2,
        ("not_checked",): 1,
    }
    assert values(found, "exd.flags.judged") == {(): 5}


def test_ages_are_those_of_the_newest_audit_and_hour() -> None:
    old = FlagState(standing="trusted", ended_at=NOW - 9 * HOUR, audited_through=NOW - 8 * HOUR)
    new = FlagState(standing="trusted", ended_at=NOW - HOUR, audited_through=NOW - 4 * HOUR)
    found = measured(old, new)
    assert values(found, "exd.audit.age") == {(): 3600}
    assert values(found, "exd.newest_hour.age") == {(): 4 * 3600}


def test_a_flag_without_an_answer_ends_no_audit() -> None:
    assert flag_state({}, None, NOW, NOW).ended_at is None


def test_the_outbox_tells_what_is_due_from_what_is_held() -> None:
    held = replace(entry("b"), held_until=NOW + HOUR)
    found = measured(state=AlertState(outbox=(entry("a", age=2 * HOUR), held, entry("c", "mail"))))
    assert values(found, "exd.outbox") == {("ops", "due"): 1, ("ops", "held"): 1, ("mail", "due"): 1}
    assert values(found, "exd.outbox.age") == {(): 2 * 3600}


def test_an_audit_is_overdue_from_the_time_set_on() -> None:
    assert overdue(NOW - 26 * HOUR + timedelta(seconds=1), NOW - 99 * HOUR, 26 * HOUR, NOW) == ""
    said = overdue(NOW - 26 * HOUR, NOW - 99 * HOUR, 26 * HOUR, NOW)
    assert said.startswith(
        "No audit has ended for 26 hours (the last at 2026-03-04 02:00 UTC), and one is due every 26 hours."
    )


def test_where_none_ever_ended_the_time_runs_from_when_it_is_watched() -> None:
    assert overdue(None, NOW - HOUR, 2 * HOUR, NOW) == ""
    assert "none since this is watched" in overdue(None, NOW - 2 * HOUR, 2 * HOUR, NOW)


def test_totals_count_each_message_and_each_failed_attempt_once() -> None:
    state, totals = AlertState(outbox=(entry("a"), entry("b"))), Totals()
    steps = [("a", "retry"), ("a", "retry"), ("b", "dead"), ("a", "sent")]
    for second, (name, status) in enumerate(steps):
        waiting = next(each for each in state.outbox if each.id == name)
        state = record_outcome(state, waiting, Outcome(status=status), NOW + timedelta(seconds=second))
        totals = counted(totals, state)
        assert counted(totals, state) == totals
    assert (totals.sent, totals.dead, totals.failures) == ({"ops": 1}, {"ops": 1}, {"ops": 3})
    assert totals.seconds == {"ops": 3603.0}


def test_totals_are_the_same_however_seldom_they_are_counted() -> None:
    state, often = AlertState(outbox=tuple(entry(str(i)) for i in range(6))), Totals()
    for second in range(12):
        status = ("retry", "sent", "dead")[second % 3]
        state = record_outcome(
            state, state.outbox[0], Outcome(status=status), NOW + timedelta(seconds=second)
        )
        often = counted(often, state)
        if not state.outbox:
            break
    assert replace(counted(Totals(), state), waiting={}) == replace(often, waiting={})


def everything() -> list[Sample]:
    totals = Totals(sent={"ops": 7}, dead={"ops": 1}, failures={"ops": 3}, seconds={"ops": 40.5})
    flag = FlagState(standing="blocked", ended_at=NOW - HOUR, audited_through=NOW - 2 * HOUR)
    state = AlertState(outbox=(entry("a", 'o"p\ns\\'),))
    return [*measured(flag, state=state, totals=totals), Sample("exd.monitoring.duration", 0.25)]


def test_prometheus_reads_every_metric_with_its_value_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "exd.prom"
    write_prometheus(path, everything(), {"fleet": "search"})
    families = {f.name: f for f in text_string_to_metric_families(path.read_text())}
    assert len(families) == len(METRICS)
    read = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert read["exd_flags", "search", "blocked"] == 1
    assert read["exd_deliveries_total", "ops", "search", "sent"] == 7
    assert read["exd_delivery_wait_seconds_total", "ops", "search"] == 40.5
    assert read["exd_outbox", 'o"p\ns\\', "search", "due"] == 1
    assert all(family.documentation for family in families.values())


def test_the_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "exd.prom"
    write_prometheus(path, everything(), {"fleet": "exd"})
    first = path.stat().st_ino
    write_prometheus(path, everything(), {"fleet": "exd"})
    assert path.stat().st_ino != first
    assert [each.name for each in tmp_path.iterdir()] == ["exd.prom"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"no/exd\.prom cannot be written: No such file"):
        write_prometheus(tmp_path / "no" / "exd.prom", everything(), {})


def points(request: Received) -> dict[str, dict[tuple[str, ...], float]]:
    """Return by metric the value of each set of attributes, as an OTLP receiver reads the request."""
    message = ExportMetricsServiceRequest.FromString(request.body)
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for resource in message.resource_metrics:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            data = metric.sum if metric.HasField("sum") else metric.gauge
            found[metric.name] = {
                tuple(value.value.string_value for value in point.attributes): (
                    point.as_double if point.HasField("as_double") else point.as_int
                )
                for point in data.data_points
            }
    return found


def test_an_otlp_receiver_reads_every_metric(tmp_path: Path) -> None:
    with HttpServer() as server:
        metrics = OtlpMetrics(server.url, {"exd.fleet": "search"}, 5)
        gauges = [s for s in everything() if not METRICS[s.metric].counter]
        grown = [s for s in everything() if METRICS[s.metric].counter]
        metrics.export(gauges, grown)
        metrics.export(gauges[:1], [Sample("exd.deliveries", 2, {"destination": "ops", "status": "sent"})])
    first, second = map(points, server.received)
    assert {request.path for request in server.received} == {"/v1/metrics"}
    assert set(first) == set(METRICS)
    assert first["exd.flags"]["blocked",] == 1
    assert first["exd.deliveries"]["ops", "sent"] == 7
    assert second["exd.deliveries"]["ops", "sent"] == 9
    assert math.isclose(first["exd.monitoring.duration"][()], 0.25)
    assert "exd.outbox" not in second
    resource = ExportMetricsServiceRequest.FromString(server.received[0].body).resource_metrics[0].resource
    named = {pair.key: pair.value.string_value for pair in resource.attributes}
    assert (named["service.name"], named["exd.fleet"]) == ("exd_dagster", "search")


def test_counters_are_cumulative_and_only_grow_for_an_otlp_receiver() -> None:
    with HttpServer() as server:
        OtlpMetrics(server.url, {}, 5).export([], [s for s in everything() if METRICS[s.metric].counter])
    message = ExportMetricsServiceRequest.FromString(server.received[0].body)
    sums = [m for m in message.resource_metrics[0].scope_metrics[0].metrics if m.HasField("sum")]
    assert {m.name for m in sums} == {metric.name for metric in METRICS.values() if metric.counter}
    assert all(m.sum.is_monotonic and m.sum.aggregation_temporality == 2 for m in sums)


@pytest.mark.parametrize("reply", [Reply(400), Reply(401), Reply(reset=True)], ids=["400", "401", "reset"])
def test_a_receiver_that_refuses_is_an_error_without_its_address(reply: Reply) -> None:
    with HttpServer(default=reply) as server:
        address = f"{server.url}/tenant-5e3c7e7"
        with pytest.raises(DeliveryError, match="the metrics were not accepted") as caught:
            OtlpMetrics(address, {}, 1).export(everything()[:1], [])
    assert "tenant-5e3c7e7" not in str(caught.value)
