"""GrowthBook: experiments of SDK features, API features and API experiments."""

from datetime import datetime, timezone

import pytest

from tests.telemetry.vendor_flags import read, shares

RULE = {
    "key": "checkout",
    "variations": ["a", "b", "c"],
    "weights": [0.5, 0.3, 0.2],
    "coverage": 0.4,
    "seed": "s",
}


def sdk(*rules):
    return {"status": 200, "features": {"new-checkout": {"defaultValue": "a", "rules": list(rules)}}}


def experiment(**changes):
    phases = [
        {
            "dateStarted": "2026-02-01T00:00:00.000Z",
            "dateEnded": "2026-03-05T09:30:00.000Z",
            "coverage": 0.2,
            "seed": "first",
            "trafficSplit": [{"variationId": "v0", "weight": 0.5}, {"variationId": "v1", "weight": 0.5}],
        },
        {
            "dateStarted": "2026-03-05T09:30:00.000Z",
            "coverage": 1,
            "seed": "second",
            "trafficSplit": [{"variationId": "v0", "weight": 0.9}, {"variationId": "v1", "weight": 0.1}],
        },
    ]
    made = {
        "id": "exp_1",
        "trackingKey": "checkout",
        "status": "running",
        "archived": False,
        "owner": "ada@example.com",
        "tags": ["growth", "check out"],
        "hashAttribute": "id",
        "hashVersion": 2,
        "variations": [{"variationId": "v0", "key": "0"}, {"variationId": "v1", "key": "1"}],
        "phases": phases,
    }
    return {"experiments": [{**made, **changes}]}


def test_a_rule_of_the_sdk_gives_the_weights_and_the_coverage_under_the_tracking_key(tmp_path):
    flag = read(tmp_path, sdk(RULE))["checkout"]
    assert shares(flag) == {"0": 0.5, "1": 0.3, "2": 0.2}
    assert flag.coverage == 0.4


def test_variation_keys_in_meta_name_the_arms(tmp_path):
    flag = read(tmp_path, sdk({**RULE, "meta": [{"key": "control"}, {"key": "new"}, {"key": "newer"}]}))[
        "checkout"
    ]
    assert list(flag.split) == ["control", "new", "newer"]


def test_ranges_replace_weights_and_coverage(tmp_path):
    flag = read(tmp_path, sdk({**RULE, "ranges": [[0, 0.1], [0.5, 0.6], [0.6, 0.8]]}))["checkout"]
    assert shares(flag) == {"0": 0.25, "1": 0.25, "2": 0.5}
    assert flag.coverage == pytest.approx(0.4)


def test_a_namespace_narrows_the_coverage(tmp_path):
    flag = read(tmp_path, sdk({**RULE, "namespace": ["pricing", 0.25, 0.75]}))["checkout"]
    assert flag.coverage == pytest.approx(0.2)


def test_rules_without_weights_split_evenly(tmp_path):
    flag = read(tmp_path, sdk({"variations": [1, 2]}))["new-checkout"]
    assert shares(flag) == {"0": 0.5, "1": 0.5}


def test_a_condition_leaves_the_split_alone_since_only_units_inside_are_recorded(tmp_path):
    flag = read(
        tmp_path, sdk({"condition": {"country": "US"}, "force": "a"}, {**RULE, "condition": {"beta": True}})
    )
    assert shares(flag["checkout"]) == {"0": 0.5, "1": 0.3, "2": 0.2}


def test_two_rules_of_one_experiment_with_different_splits_are_refused(tmp_path, caplog):
    flag = read(tmp_path, sdk(RULE, {**RULE, "weights": [0.2, 0.3, 0.5]}))["checkout"]
    assert flag.split is None
    assert "several rules serve this experiment with different splits" in caplog.text


def test_phases_of_an_experiment_are_phases_and_a_new_seed_assigns_afresh(tmp_path):
    flag = read(tmp_path, experiment(), start=None)["checkout"]
    (phase,) = flag.phases
    assert flag.start == datetime(2026, 2, 1, tzinfo=timezone.utc)
    assert (phase.start, phase.split, phase.rerandomized) == (
        datetime(2026, 3, 5, 9, 30, tzinfo=timezone.utc),
        {"0": 0.9, "1": 0.1},
        True,
    )
    assert (flag.coverage, phase.coverage) == (0.2, 1)


def test_owner_and_tags_are_carried_over(tmp_path):
    flag = read(tmp_path, experiment())["checkout"]
    assert (flag.owners, flag.tags) == (("ada@example.com",), {"growth": "", "check-out": ""})


def test_a_draft_is_left_out(tmp_path, caplog):
    assert read(tmp_path, experiment(status="draft")) == {}
    assert "flag checkout is draft and left out" in caplog.text


def test_a_stopped_experiment_ends_with_its_last_phase(tmp_path):
    stopped = experiment(status="stopped")
    stopped["experiments"][0]["phases"][1]["dateEnded"] = "2026-03-20T00:00:00Z"
    assert read(tmp_path, stopped)["checkout"].end == datetime(2026, 3, 20, tzinfo=timezone.utc)
    assert read(tmp_path, stopped, start="2026-03-21") == {}


def test_a_feature_of_the_api_is_read_in_the_named_environment(tmp_path):
    rule = {
        "type": "experiment",
        "enabled": True,
        "trackingKey": "checkout",
        "coverage": 1,
        "value": [{"value": "a", "weight": 0.7}, {"value": "b", "weight": 0.3}],
    }
    environments = {
        "dev": {"enabled": True, "rules": []},
        "production": {"enabled": True, "rules": [{"type": "force", "value": "a"}, rule]},
    }
    document = {
        "features": [{"id": "f", "valueType": "string", "archived": False, "environments": environments}]
    }
    assert shares(read(tmp_path, document, environment="production")["checkout"]) == {"0": 0.7, "1": 0.3}
    assert read(tmp_path, document, environment="dev") == {}
