"""LiveMonitor keeps the names, parameters and result keys a notebook knows, and adds what it can say more."""

import inspect
import json
from xml.etree import ElementTree

import pandas as pd
import pytest

from exd_dagster.errors import ConfigError, InputError
from exd_dagster.notebook import LiveMonitor, WebhookAlertDispatcher
from exd_dagster.notebook.srm import UNSEEN, ratios_by_name
from tests.notebook.frames import START, log

HALF = {"control": 0.5, "treatment": 0.5}

SEED = {
    "get_binned_traffic": {"variant_col": "variant", "freq": "D"},
    "get_cumulative_traffic": {"variant_col": "variant", "freq": "D"},
    "check_traffic_anomaly": {
        "variant_col": "variant",
        "freq": "D",
        "window": 7,
        "z_threshold": 3.0,
        "drop_threshold": 0.5,
    },
    "check_live_srm": {"expected_ratios": inspect.Parameter.empty, "variant_col": "variant"},
    "check_sequential_srm": {
        "variant_col": "variant",
        "target_treatment_ratio": 0.5,
        "delta": 0.02,
        "alpha": 0.01,
    },
    "run_telemetry_checks": {
        "expected_ratios": inspect.Parameter.empty,
        "variant_col": "variant",
        "freq": "D",
        "window": 7,
        "z_threshold": 3.0,
    },
}


@pytest.mark.parametrize("method", SEED)
def test_positional_parameters_and_defaults_are_the_known_ones(method):
    parameters = list(inspect.signature(getattr(LiveMonitor, method)).parameters.values())[1:]
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert positional == SEED[method]


@pytest.mark.parametrize("compat", [None, "xpyrment"])
def test_results_have_the_known_keys(compat):
    result = LiveMonitor(log(), "ts", compat=compat).run_telemetry_checks([0.5, 0.5])
    assert {
        "shutoff_triggered",
        "alerts_triggered",
        "traffic_anomaly",
        "cumulative_srm",
        "sequential_srm",
    } <= set(result)
    assert {
        "anomaly_detected",
        "latest_volume",
        "historical_mean",
        "historical_std",
        "z_score",
        "message",
    } <= set(result["traffic_anomaly"])
    assert {"srm_detected", "p_value", "observed_counts", "expected_ratios", "message"} <= set(
        result["cumulative_srm"]
    )
    assert {"srm_detected", "running_likelihood_ratios", "stopped_index", "message"} <= set(
        result["sequential_srm"]
    )


def test_whole_result_is_strict_json():
    dispatcher = WebhookAlertDispatcher()
    dispatcher.register_callback(lambda *alert: None)
    result = LiveMonitor(log(share=0.6), "ts", dispatcher).run_telemetry_checks(HALF)
    assert [delivery["status"] for delivery in result["deliveries"]] == ["sent", "sent"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_tables_are_indexed_by_bin_and_hold_floats():
    table = LiveMonitor(log(units=100, days=2), "ts").get_binned_traffic()
    assert (table.index.name, list(table.columns), str(table.dtypes.iloc[0])) == (
        "binned_time",
        ["control", "treatment"],
        "float64",
    )


def test_known_example_of_a_drop_is_found_with_its_numbers():
    volumes = [100, 110, 90, 105, 95, 100, 102, 60]
    frame = pd.concat(
        pd.DataFrame(
            {
                "unit_id": range(1000 * day, 1000 * day + n),
                "variant": "a",
                "ts": START + pd.Timedelta(days=day),
            }
        )
        for day, n in enumerate(volumes)
    )
    now = (START + pd.Timedelta(days=len(volumes))).tz_localize("UTC")
    for monitor in (LiveMonitor(frame, "ts", now=now), LiveMonitor(frame, "ts", compat="xpyrment")):
        result = monitor.check_traffic_anomaly()
        assert result["anomaly_detected"]
        numbers = [result[key] for key in ("historical_mean", "historical_std", "z_score")]
        assert numbers == pytest.approx([100.285714, 6.499084, -6.198676], abs=1e-6)


@pytest.mark.parametrize("arm", ["control", "treatment"])
def test_known_example_of_the_sequential_test_stops_where_it_did(arm):
    frame = log(units=200).assign(variant=arm)
    frame.loc[199, "variant"] = "treatment" if arm == "control" else "control"
    assert LiveMonitor(frame, "ts", compat="xpyrment").check_sequential_srm()["stopped_index"] == 135


@pytest.mark.parametrize("now", [None, "2026-03-01T00:00Z"])
def test_empty_log_is_no_alarm_and_not_healthy(now):
    frame = log(units=10).iloc[:0]
    result = LiveMonitor(frame, "ts", now=now).run_telemetry_checks(HALF)
    assert result["alerts_triggered"] == []
    assert result["cumulative_srm"]["details"]["verdict"] == "not_checked"
    assert result["traffic_anomaly"]["details"]["verdict"] == "insufficient"
    assert LiveMonitor(frame, "ts").get_cumulative_traffic().empty


def test_ratios_need_not_sum_to_one():
    assert not LiveMonitor(log(), "ts").check_live_srm([50, 50])["srm_detected"]


@pytest.mark.parametrize("ratios", [[], [-1, 2], [0, 0], {"control": float("nan")}])
def test_unusable_ratios_are_refused_with_an_example(ratios):
    with pytest.raises(InputError, match=r"give positive numbers, such as"):
        LiveMonitor(log(units=50), "ts").check_live_srm(ratios)


@pytest.mark.parametrize(
    ("ratios", "counts", "names"),
    [
        ([0.9, 0.1], {"a": 90, "b": 10}, ["a", "b"]),
        ([0.9, 0.1], {"b": 90}, ["b", UNSEEN.format(2)]),
        ([0.1, 0.9], {"b": 90}, [UNSEEN.format(1), "b"]),
        ([0.5, 0.5], {"a": 90, "b": 95, "stray": 1}, ["a", "b"]),
    ],
)
def test_list_of_ratios_finds_its_variants(ratios, counts, names):
    assert list(ratios_by_name(ratios, counts)) == names


def test_treatment_that_cannot_be_reported_is_asked_for():
    monitor = LiveMonitor(log(variants=("old", "new")), "ts")
    assert not monitor.check_sequential_srm()["srm_detected"]
    with pytest.raises(InputError, match="pass expected_ratios="):
        monitor.check_sequential_srm(target_treatment_ratio=0.3)
    assert monitor.check_sequential_srm(expected_ratios={"old": 0.3, "new": 0.7})["srm_detected"]


def test_control_is_reported_by_its_name():
    monitor = LiveMonitor(log(share=0.3, variants=("z_control", "new")), "ts")
    assert not monitor.check_sequential_srm(target_treatment_ratio=0.3)["srm_detected"]


@pytest.mark.parametrize(
    ("options", "fix"),
    [({"compat": "xpryment"}, "write 'xpyrment'"), ({"now": "2026-01-01T00:00"}, "no UTC offset")],
)
def test_wrong_option_says_what_to_write(options, fix):
    with pytest.raises(ConfigError, match=fix):
        LiveMonitor(log(units=10), "ts", **options)


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("tss",), "time_col: it has no column 'tss'. Did you mean 'ts'?"),
        (("ts",), "variant_col: it has no column 'arm'"),
    ],
)
def test_missing_column_is_named_with_the_nearest(arguments, fix):
    with pytest.raises(ConfigError) as error:
        LiveMonitor(log(units=10), *arguments).check_live_srm(
            HALF, "arm" if arguments == ("ts",) else "variant"
        )
    assert fix in str(error.value)


@pytest.mark.parametrize("freq", ["15min", "90min", "fortnight"])
def test_frequency_that_is_no_whole_hours_is_refused(freq):
    with pytest.raises(InputError, match="give whole hours or longer"):
        LiveMonitor(log(units=50), "ts").get_binned_traffic(freq=freq)


def test_compatible_mode_says_what_it_cannot_answer_and_loses_no_alert():
    frame = log(units=5000)
    result = LiveMonitor(frame[frame.variant == "control"], "ts", compat="xpyrment").run_telemetry_checks(
        [0.5, 0.5]
    )
    assert result["cumulative_srm"]["message"].startswith("Not checked: variants seen ['control']")
    assert result["sequential_srm"]["message"].startswith("Not checked: 1 variants seen")


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda f: f.assign(variant=f.variant.map({"control": True, "treatment": "b"})), {}),
        (lambda f: f, {"freq": "ME"}),
        (lambda f: f, {"expected_ratios": [0.99, 0.01]}),
    ],
    ids=["mixed_labels", "calendar_frequency", "rare_arm"],
)
def test_compatible_mode_goes_on_where_one_check_cannot_answer(change, options):
    monitor = LiveMonitor(change(log(share=0.6)), "ts", compat="xpyrment")
    result = monitor.run_telemetry_checks(**{"expected_ratios": [0.5, 0.5], **options})
    checks = [result[name]["message"] for name in ("traffic_anomaly", "cumulative_srm", "sequential_srm")]
    reported = [message.startswith("Not checked: ") for message in checks]
    assert any(reported)
    assert not all(reported)


def test_compatible_mode_keeps_the_shutoff_and_sends_every_time():
    sent = []
    dispatcher = WebhookAlertDispatcher()
    dispatcher.register_callback(lambda alert, *_: sent.append(alert))
    monitor = LiveMonitor(log(share=0.6), "ts", dispatcher, compat="xpyrment")
    for _ in range(2):
        monitor.run_telemetry_checks([0.5, 0.5])
    monitor.df = log()
    assert monitor.run_telemetry_checks([0.5, 0.5])["shutoff_triggered"]
    assert sent == ["SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"] * 2


def words_of(picture) -> str:
    root = ElementTree.fromstring(picture._repr_svg_())
    return " ".join(node.text or "" for node in root.iter() if node.tag.endswith("text"))


def test_plot_shows_units_ratio_and_evidence(tmp_path):
    picture = LiveMonitor(log(share=0.6), "ts").plot(HALF)
    assert all(word in words_of(picture) for word in ("units so far", "R(t)", "evidence", "alarm, 1 in 100"))
    picture.save(tmp_path / "monitor.svg")
    assert (tmp_path / "monitor.svg").read_text() == picture.svg


def test_plot_uses_the_split_of_the_last_run():
    monitor = LiveMonitor(log(), "ts")
    assert "declare the split" in words_of(monitor.plot())
    monitor.run_telemetry_checks(HALF)
    assert "alarm, 1 in 100" in words_of(monitor.plot())


@pytest.mark.parametrize("rows", [0, 1, 4000])
def test_plot_draws_any_log(rows):
    frame = log(units=4000).iloc[:rows]
    if rows == 4000:
        frame = frame.assign(variant=[f"<arm {i % 6}>" for i in range(rows)])
    words_of(LiveMonitor(frame, "ts").plot())
