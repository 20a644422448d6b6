"""Fifty defects of the systems this one replaces (docs/xpyrment.md), each shown absent by default."""

import json
import math
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from exd_dagster.config import Phase
from exd_dagster.errors import ConfigError
from exd_dagster.notebook import LiveMonitor, WebhookAlertDispatcher
from exd_dagster.notebook.srm import control_of
from exd_dagster.stats import srm_test
from tests.notebook.frames import START, log

HALF = {"control": 0.5, "treatment": 0.5}
DAY = pd.Timedelta(days=1)


def run(frame: pd.DataFrame, ratios=HALF, *, now=None, dispatcher=None, **options):
    return LiveMonitor(frame, "ts", dispatcher, now=now).run_telemetry_checks(ratios, **options)


def alerts(frame: pd.DataFrame, ratios=HALF, **options) -> list[str]:
    return run(frame, ratios, **options)["alerts_triggered"]


def shifted(frame: pd.DataFrame, after: str, share: float, seed: int = 1) -> pd.DataFrame:
    """Reassign units that arrive after an instant."""
    late = frame.ts >= START + pd.Timedelta(after)
    arm = np.where(np.random.default_rng(seed).random(len(frame)) < share, "treatment", "control")
    return frame.assign(variant=np.where(late, arm, frame.variant))


def busy(per_hour: int = 150, days: int = 21, seed: int = 0) -> pd.DataFrame:
    """Traffic with a day's rhythm: the nights have a fifth of the busiest hour."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    volume = rng.poisson(per_hour * (0.6 - 0.4 * np.cos(2 * np.pi * (hours % 24 - 3) / 24)))
    seconds = np.repeat(hours * 3600.0, volume) + rng.uniform(0, 3600, volume.sum())
    arm = np.where(rng.random(volume.sum()) < 0.5, "treatment", "control")
    return pd.DataFrame(
        {"unit_id": np.arange(len(arm)), "variant": arm, "ts": START + pd.to_timedelta(seconds, unit="s")}
    )


def end_of(days: float) -> pd.Timestamp:
    return (START + days * DAY).tz_localize("UTC")


@pytest.mark.parametrize("freq", ["D", "h"])
def test_d01_cumulative_traffic_counts_each_unit_once(freq):
    frame = log(units=1000, returns=12)
    assert LiveMonitor(frame, "ts").get_cumulative_traffic(freq=freq).iloc[-1].sum() == 1000


def test_d02_chi_square_runs_on_units_not_on_unit_days():
    result = LiveMonitor(log(units=1000, returns=12), "ts").check_live_srm(HALF)
    assert sum(result["observed_counts"]) == 1000


def test_d03_counts_tested_do_not_depend_on_the_frequency():
    frame = log(units=2000, returns=5)
    assert run(frame, freq="h")["cumulative_srm"] == run(frame, freq="D")["cumulative_srm"]


def test_d04_silence_until_now_is_an_outage():
    assert alerts(busy(), now=end_of(25)) == ["TRAFFIC_DROP_ANOMALY"]


def test_d05_gap_inside_the_series_is_hours_of_zero():
    frame = log(units=4000, days=14)
    frame = frame[(frame.ts < START + 5 * DAY) | (frame.ts >= START + 6 * DAY)]
    hours = LiveMonitor(frame, "ts").get_binned_traffic(freq="h").sum(axis=1)
    assert (len(hours), int((hours[24 * 5 : 24 * 6] == 0).sum())) == (336, 24)


@pytest.mark.parametrize(("freq", "cut"), [("h", "20 days 14:05:00"), ("D", "20 days 12:00:00")])
def test_d06_partial_newest_bin_is_not_tested(freq, cut):
    frame = busy()
    frame = frame[frame.ts < START + pd.Timedelta(cut)]
    assert alerts(frame, freq=freq, now=(START + pd.Timedelta(cut)).tz_localize("UTC")) == []


def test_d07_dead_arm_is_a_mismatch_and_loses_no_other_alert():
    frame = busy()
    frame = frame[(frame.variant == "control") & (frame.ts < START + 20 * DAY)]
    assert alerts(frame, [0.5, 0.5], now=end_of(21)) == [
        "TRAFFIC_DROP_ANOMALY",
        "SRM_SHUTOFF_TRIGGERED",
        "SEQUENTIAL_SRM_TRIGGERED",
    ]


@pytest.mark.parametrize("ratios", [HALF, [0.5, 0.5]])
def test_d08_stray_label_is_named_and_stops_nothing(ratios):
    frame = log(units=20_000)
    frame.loc[7, "variant"] = "contrl"
    result = run(frame, ratios)
    assert result["alerts_triggered"] == []
    assert result["cumulative_srm"]["details"]["undeclared"] == {"contrl": 1}


def test_d09_ratios_are_matched_by_name():
    frame = log(share=0.1, variants=("old", "new"))
    assert alerts(frame, {"old": 0.9, "new": 0.1}) == []


def test_d10_control_that_sorts_second_is_no_mismatch():
    frame = log(share=0.1, variants=("control", "a_new"))
    assert alerts(frame, {"control": 0.9, "a_new": 0.1}) == []
    assert alerts(frame, [0.1, 0.9]) == []


def test_d11_control_is_a_word_not_a_substring():
    assert control_of(["uncontrolled", "plain"]) is None
    assert control_of(["uncontrolled", "my_control"]) == "my_control"


@pytest.mark.parametrize("rare", [0.01, 0.02])
def test_d12_rare_arm_is_tested_like_any_other(rare):
    ratios = {"control": 1 - rare, "treatment": rare}
    assert alerts(log(units=20_000, share=rare), ratios) == []
    assert "SEQUENTIAL_SRM_TRIGGERED" in alerts(log(units=20_000, share=3 * rare), ratios)


def test_d13_three_arms_are_tested_sequentially():
    frame = log(units=9000)
    frame["variant"] = np.random.default_rng(0).choice(["a", "b", "c"], len(frame))
    assert "SEQUENTIAL_SRM_TRIGGERED" in alerts(frame, {"a": 0.45, "b": 0.45, "c": 0.1})


def test_d14_rows_of_one_unit_are_not_evidence():
    one = pd.DataFrame({"unit_id": [0] + [1] * 399, "variant": ["control"] + ["treatment"] * 399})
    one["ts"] = START + pd.to_timedelta(np.arange(400), unit="min")
    assert alerts(one) == []
    heavy = log(units=1000, returns=0)
    again = (np.random.default_rng(2).pareto(1.5, len(heavy))).astype(int)
    assert alerts(heavy.loc[heavy.index.repeat(1 + again)]) == []


def test_d15_sequential_alert_reaches_a_webhook():
    dispatcher = WebhookAlertDispatcher()
    with HTTPServer(threaded=True) as server:
        server.expect_request("/hook").respond_with_data("ok")
        dispatcher.register_custom(server.url_for("/hook"))
        run(log(share=0.6), dispatcher=dispatcher)
        reported = [json.loads(request.data)["alert_type"] for request, _ in server.log]
    assert reported == ["SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"]


def test_d16_alert_is_sent_once_and_ends_with_its_fault():
    sent = []
    dispatcher = WebhookAlertDispatcher()
    dispatcher.register_callback(lambda alert, *_: sent.append(alert))
    monitor = LiveMonitor(log(share=0.6), "ts", dispatcher)
    for _ in range(3):
        assert monitor.run_telemetry_checks(HALF)["shutoff_triggered"]
    assert sent == ["SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"]
    monitor.df = log()
    assert not monitor.run_telemetry_checks(HALF)["shutoff_triggered"]
    assert not monitor.shutoff_triggered


def test_d17_failed_delivery_is_reported_and_tried_again_by_the_next_run():
    dispatcher = WebhookAlertDispatcher(sleep=lambda seconds: None)
    answers = iter([500] * 6 + [200] * 2)
    with HTTPServer() as server:
        server.expect_request("/").respond_with_handler(lambda request: Response("", next(answers)))
        dispatcher.register_custom(server.url_for("/"))
        monitor = LiveMonitor(log(share=0.6), "ts", dispatcher)
        runs = [monitor.run_telemetry_checks(HALF)["deliveries"] for _ in range(3)]
    assert [[delivery["status"] for delivery in run] for run in runs] == [["failed"] * 2, ["sent"] * 2, []]


def test_d18_destinations_are_served_at_the_same_time():
    both = threading.Barrier(2, timeout=10)

    def meet(request: Request) -> Response:
        both.wait()
        return Response("ok")

    dispatcher = WebhookAlertDispatcher()
    with HTTPServer(threaded=True) as server:
        for path in ("/a", "/b"):
            server.expect_request(path).respond_with_handler(meet)
            dispatcher.register_custom(server.url_for(path))
        assert [result.status for result in dispatcher.dispatch("T", "m", {})] == ["sent", "sent"]


def test_d19_shift_of_half_a_point_is_found_with_enough_units():
    frame = log(units=336_000, share=0.505, seed=3)
    assert LiveMonitor(frame, "ts").check_sequential_srm()["srm_detected"]


def test_d20_evidence_never_overflows():
    result = LiveMonitor(log(units=20_000, share=1.0), "ts").check_sequential_srm()
    assert result["srm_detected"]
    json.dumps(result, allow_nan=False)


def test_d21_unit_column_is_asked_for_not_guessed():
    frame = log(units=50).rename(columns={"unit_id": "user"})[["ts", "user", "variant"]]
    with pytest.raises(
        ConfigError, match=r"unit_col: name the column that identifies a unit \(ts, user, variant\)"
    ):
        LiveMonitor(frame, "ts").check_live_srm(HALF)
    assert LiveMonitor(frame, "ts", unit_col="user").get_cumulative_traffic().iloc[-1].sum() == 50


def daily(*volumes: int) -> pd.DataFrame:
    day = np.repeat(np.arange(len(volumes)), volumes)
    seconds = np.concatenate([np.linspace(0, 86_399, volume) for volume in volumes])
    return pd.DataFrame(
        {
            "unit_id": np.arange(len(day)),
            "variant": np.where(np.arange(len(day)) % 2, "control", "treatment"),
            "ts": START + pd.to_timedelta(day * 86_400 + seconds, unit="s"),
        }
    )


def traffic(*volumes: int, **options) -> dict:
    monitor = LiveMonitor(daily(*volumes), "ts", now=end_of(len(volumes)))
    return monitor.check_traffic_anomaly(**options)


def test_d22_history_of_two_or_one_bins_raises_no_alarm():
    assert not traffic(100, 102, 80)["anomaly_detected"]
    json.dumps(traffic(100, 102, 2, window=1), allow_nan=False)


def test_d23_lost_hour_is_seen_against_its_hour_of_the_day():
    frame = busy()
    assert alerts(frame, freq="h", now=end_of(21)) == []
    lost = (frame.ts >= START + pd.Timedelta("20 days 15:00:00")) & (
        frame.ts < START + pd.Timedelta("20 days 16:00:00")
    )
    halved = frame[~lost | (frame.unit_id % 2 == 0)]
    halved = halved[halved.ts < START + pd.Timedelta("20 days 17:00:00")]
    assert alerts(halved, freq="h") == ["TRAFFIC_DROP_ANOMALY"]


def test_d24_lasting_outage_does_not_become_the_baseline():
    frame = busy()
    frame = frame[(frame.ts < START + 15 * DAY) | (frame.unit_id % 5 == 0)]
    for day in (16, 18, 21):
        assert alerts(frame[frame.ts < START + day * DAY], now=end_of(day)) == ["TRAFFIC_DROP_ANOMALY"]


def test_d25_loss_of_one_arm_of_four_is_found():
    rng = np.random.default_rng(4)
    frame = log(units=20_000, seed=4)
    frame["variant"] = rng.choice(["a", "b", "c", "d"], len(frame))
    lost = (frame.ts >= START + 7 * DAY) & (frame.variant == "d") & (rng.random(len(frame)) < 0.3)
    assert "SEQUENTIAL_SRM_TRIGGERED" in alerts(frame[~lost], dict.fromkeys("abcd", 0.25))


def test_d26_rows_without_a_unit_are_left_out_of_every_test_and_counted():
    frame = log(units=1000)
    missing = frame.assign(unit_id=None, variant="treatment")
    result = run(pd.concat([frame, missing, missing, missing]))
    assert result["alerts_triggered"] == []
    assert result["cumulative_srm"]["details"]["n"] == result["sequential_srm"]["details"]["n"] == 1000
    assert result["traffic_anomaly"]["quarantined"] == {"null_units": 3000}


def test_d27_local_times_survive_the_autumn_change_of_the_clock():
    hours = pd.date_range("2026-10-24 22:00", periods=8, freq="30min", tz="UTC").tz_convert("Europe/Berlin")
    frame = pd.DataFrame({"unit_id": range(8), "variant": ["control", "treatment"] * 4, "ts": hours})
    table = LiveMonitor(frame, "ts").get_binned_traffic(freq="h")
    assert table.sum(axis=1).tolist() == [2.0, 2.0, 2.0, 2.0]


def test_d28_mixed_offsets_and_fractions_of_seconds_are_read():
    times = ["2026-03-01T00:10:00Z", "2026-03-01T02:20:00.5+02:00", "2026-02-28T19:30:00-05:00"]
    frame = pd.DataFrame({"unit_id": range(3), "variant": ["control"] * 3, "ts": times})
    table = LiveMonitor(frame, "ts").get_binned_traffic(freq="h")
    assert (str(table.index[0]), table.to_numpy().tolist()) == ("2026-03-01 00:00:00+00:00", [[3.0]])


def test_d29_text_times_order_as_instants():
    frame = log(units=600, share=0.7)
    text = frame.assign(ts=frame.ts.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert run(text) == run(frame)


def test_d30_order_of_rows_changes_nothing():
    frame = log(units=3000, share=0.53, returns=1)
    frame["ts"] = frame.ts.dt.floor("h")
    assert run(frame.sample(frac=1, random_state=5)) == run(frame)


def test_d31_units_in_both_arms_are_counted_once_and_reported():
    frame = log(units=3000)
    other = frame.assign(variant=np.where(frame.variant == "control", "treatment", "control"))
    result = run(pd.concat([frame, other.assign(ts=other.ts + pd.Timedelta(minutes=1))]))
    integrity = result["cumulative_srm"]["variant_integrity"]
    assert (integrity["units"], integrity["multi_variant_units"], integrity["verdict"]) == (
        3000,
        3000,
        "fail",
    )


def test_d32_fifteen_units_shut_nothing_off():
    frame = log(units=15)
    frame["variant"] = ["treatment"] * 14 + ["control"]
    result = run(frame)
    assert not result["cumulative_srm"]["srm_detected"]
    assert result["cumulative_srm"]["details"]["verdict"] == "insufficient"


@pytest.mark.parametrize(("freq", "bins"), [("W", 5), ("ME", 2), ("H", 720), ("6h", 120)])
def test_d33_calendar_frequencies_work(freq, bins):
    table = LiveMonitor(log(units=5000, days=30), "ts").get_binned_traffic(freq=freq)
    assert (len(table), table.to_numpy().sum()) == (bins, 5000)


def test_d34_fault_of_yesterday_is_seen_today():
    frame = busy()
    lost = (frame.ts >= START + 19 * DAY) & (frame.ts < START + 20 * DAY) & (frame.unit_id % 100 > 0)
    assert alerts(frame[~lost], now=end_of(21)) == ["TRAFFIC_DROP_ANOMALY"]
    assert traffic(100, 104, 98, 101, 99, 1, 103)["anomaly_detected"]


def test_d35_fresh_monitor_of_the_same_log_gives_the_same_answer():
    frame = log(share=0.6)
    assert [run(frame)["shutoff_triggered"] for _ in range(2)] == [True, True]


def test_d36_late_fault_is_found_within_hours():
    frame = shifted(log(units=272_000, days=272 / 24), "11 days", 0.45)
    assert "SEQUENTIAL_SRM_TRIGGERED" in alerts(frame)
    assert alerts(frame[frame.ts < START + 11 * DAY]) == []


def test_d37_repeated_looks_are_paid_for():
    frame = log(units=10_000)
    frame["variant"] = np.random.default_rng(0).permutation(["treatment"] * 5168 + ["control"] * 4832)
    result = LiveMonitor(frame, "ts").check_live_srm(HALF)
    assert result["p_value"] < 0.001
    assert (result["srm_detected"], result["details"]["severity"]) == (False, "WARN")


def test_d38_arm_declared_without_a_share_is_allowed():
    assert alerts(log(), {**HALF, "holdback": 0.0}) == []


def test_d39_payload_is_strict_json_whatever_it_holds():
    with HTTPServer() as server:
        server.expect_request("/").respond_with_data("ok")
        dispatcher = WebhookAlertDispatcher()
        dispatcher.register_custom(server.url_for("/"))
        dispatcher.dispatch("T", "m", {"z": math.nan, "lr": np.array([1.0, np.inf]), "n": np.int64(3)})
        details = json.loads(server.log[0][0].data, parse_constant=pytest.fail)["details"]
    assert details == {"z": None, "lr": [1.0, None], "n": 3}


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/x", "hooks.slack.com/x", "http://", "http://[x"]
)
def test_d40_only_http_and_https_urls_are_taken(url):
    with pytest.raises(ConfigError, match="write https://host/path"):
        WebhookAlertDispatcher().register_custom(url)


def test_d41_row_from_the_future_is_quarantined():
    frame = busy()
    frame.loc[11, "ts"] = START + 400 * DAY
    result = run(frame, now=end_of(21))
    assert result["alerts_triggered"] == []
    assert result["traffic_anomaly"]["quarantined"] == {"time_in_the_future": 1}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_d42_numbers_since_1970_are_read_in_their_unit(unit):
    frame = log(units=500)
    numbers = frame.assign(ts=frame.ts.dt.floor("s").astype(f"datetime64[{unit}]").astype("int64"))
    whole = frame.assign(ts=frame.ts.dt.floor("s"))
    pd.testing.assert_frame_equal(
        LiveMonitor(numbers, "ts").get_binned_traffic(), LiveMonitor(whole, "ts").get_binned_traffic()
    )


def test_d43_planned_ramp_is_judged_phase_by_phase():
    frame = shifted(log(units=20_000, share=0.1), "7 days", 0.5)
    ramp = [
        Phase(start=START.date(), split={"control": 0.9, "treatment": 0.1}),
        Phase(start=(START + 7 * DAY).date(), split=HALF),
    ]
    assert alerts(frame, ramp) == []
    assert "SEQUENTIAL_SRM_TRIGGERED" in alerts(frame, HALF)


def test_d44_unused_category_is_no_variant():
    frame = log()
    frame["variant"] = pd.Categorical(frame.variant, categories=["control", "treatment", "gone"])
    assert alerts(frame, [0.5, 0.5]) == []


def test_d45_labels_of_mixed_types_are_read_as_text():
    frame = log(variants=("control", "treatment"))
    frame["variant"] = frame.variant.map({"control": False, "treatment": "on"})
    assert alerts(frame, {"false": 0.5, "on": 0.5}) == []


def test_d46_import_loads_neither_pandas_nor_scipy():
    code = (
        "import sys, exd_dagster.notebook; "
        "print([name for name in ('pandas', 'scipy', 'matplotlib', 'dagster') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_d47_tiny_p_value_keeps_its_tail():
    frame = log(units=10_000)
    frame["variant"] = np.random.default_rng(0).permutation(["treatment"] * 5445 + ["control"] * 4555)
    assert LiveMonitor(frame, "ts").check_live_srm(HALF)["p_value"] == pytest.approx(5.6e-19, rel=0.1)


def test_d48_zone_of_naive_times_is_a_choice_and_utc_by_default():
    frame = log(units=300)
    aware = frame.assign(ts=frame.ts.dt.tz_localize("UTC"))
    berlin = frame.assign(ts=aware.ts.dt.tz_convert("Europe/Berlin").dt.tz_localize(None))
    tables = [
        LiveMonitor(frame, "ts").get_binned_traffic(),
        LiveMonitor(aware, "ts").get_binned_traffic(),
        LiveMonitor(berlin, "ts", time_zone="Europe/Berlin").get_binned_traffic(),
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_d49_printed_example_of_exd_has_this_chi_square():
    verdict = srm_test({"a": 91_008, "b": 90_521, "c": 16_903}, {"a": 0.333, "b": 0.333, "c": 0.334})
    assert verdict.chi_square == pytest.approx(55_228.82535455993, rel=1e-12)


def test_d50_units_are_counted_not_evaluations():
    heavy = log(units=800, returns=6)
    assert sum(LiveMonitor(heavy, "ts").check_live_srm(HALF)["observed_counts"]) == 800
