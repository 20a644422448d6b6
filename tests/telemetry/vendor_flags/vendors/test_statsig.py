"""Statsig: Console API and downloaded config specs."""

from datetime import datetime, timezone

import pytest

from tests.telemetry.vendor_flags import read, shares


def experiment(**changes):
    groups = [{"id": "g1", "name": "Control", "size": 60}, {"id": "g2", "name": "Test", "size": 40}]
    made = {
        "id": "checkout", "status": "active", "groups": groups, "allocation": 25, "idType": "userID",
        "startTime": 1_772_400_000_000, "tags": ["growth"], "owner": {"ownerEmail": "ada@example.com"},
    }  # fmt: skip
    return {"message": "listed", "data": [{**made, **changes}]}


def bucket(until, name):
    condition = {
        "type": "user_bucket",
        "operator": "lt",
        "targetValue": until,
        "additionalValues": {"salt": "s"},
    }
    return {"id": name.lower(), "groupName": name, "passPercentage": 100, "conditions": [condition],
            "returnValue": {}, "isExperimentGroup": True}  # fmt: skip


def specs(*rules, gates=()):
    config = {"name": "checkout", "entity": "experiment", "enabled": True, "isActive": True, "salt": "x",
              "rules": list(rules), "defaultValue": {}}  # fmt: skip
    return {"feature_gates": list(gates), "dynamic_configs": [config], "layer_configs": []}


def gate(*rules, **changes):
    return {
        "name": "new-ui",
        "entity": "feature_gate",
        "enabled": True,
        "salt": "g",
        "rules": list(rules),
        **changes,
    }


def test_groups_are_the_arms_and_the_allocation_is_the_coverage(tmp_path):
    flag = read(tmp_path, experiment(), start=None)["checkout"]
    assert (shares(flag), flag.coverage) == ({"Control": 0.6, "Test": 0.4}, 0.25)
    assert flag.start == datetime(2026, 3, 1, 21, 20, tzinfo=timezone.utc)
    assert (flag.owners, flag.tags) == (("ada@example.com",), {"growth": ""})


def test_groups_go_by_their_ids_where_the_records_do(tmp_path):
    assert shares(read(tmp_path, experiment(), variants="id")["checkout"]) == {"g1": 0.6, "g2": 0.4}


@pytest.mark.parametrize("status", ["setup", "archived", "decision_made", "abandoned"])
def test_only_an_active_experiment_is_audited(tmp_path, status):
    assert read(tmp_path, experiment(status=status)) == {}


def test_a_decided_experiment_ends_when_it_was_decided(tmp_path):
    flag = read(tmp_path, experiment(status="decision_made", endTime=1_773_600_000_000))["checkout"]
    assert flag.end == datetime(2026, 3, 15, 18, 40, tzinfo=timezone.utc)


@pytest.mark.parametrize(("operator", "coverage"), [("none", 0.3), ("any", 0.7)])
def test_buckets_of_config_specs_are_thresholds(tmp_path, operator, coverage):
    """Who matches the rule before the groups stays outside the experiment."""
    condition = {"type": "user_bucket", "operator": operator, "targetValue": list(range(300))}
    outside = {"id": "layerAssignment", "passPercentage": 100, "returnValue": {}, "conditions": [condition]}
    flag = read(tmp_path, specs(outside, bucket(300, "Control"), bucket(1000, "Test")))["checkout"]
    assert shares(flag) == {"Control": 0.3, "Test": 0.7}
    assert flag.coverage == pytest.approx(coverage)


def test_conditions_kept_apart_are_put_in_place(tmp_path):
    old = specs(bucket(300, "Control"), bucket(1000, "Test"))
    config = old["dynamic_configs"][0]
    conditions = {str(i): rule["conditions"][0] for i, rule in enumerate(config["rules"])}
    rules = [{**rule, "conditions": [str(i)]} for i, rule in enumerate(config["rules"])]
    new = {
        "feature_gates": {},
        "dynamic_configs": {"checkout": {**config, "rules": rules}},
        "condition_map": conditions,
    }
    assert shares(read(tmp_path, new)["checkout"]) == {"Control": 0.3, "Test": 0.7}


def test_a_gate_for_everybody_passes_its_percentage(tmp_path):
    rule = {"id": "r", "name": "all", "passPercentage": 12.5, "conditions": [{"type": "public"}]}
    assert shares(read(tmp_path, specs(bucket(1000, "a"), gates=[gate(rule)]))["new-ui"]) == {
        "true": 0.125,
        "false": 0.875,
    }
    console = {"data": [{"id": "new-ui", "isEnabled": True, "rules": [rule]}]}
    assert shares(read(tmp_path, console)["new-ui"]) == {"true": 0.125, "false": 0.875}


def test_a_gate_with_conditions_is_refused_with_what_to_declare(tmp_path, caplog):
    rule = {"id": "r", "name": "staff", "passPercentage": 50, "conditions": [{"type": "user_field"}]}
    assert read(tmp_path, {"data": [{"id": "g", "isEnabled": True, "rules": [rule]}]})["g"].split is None
    assert "its rule 'staff' chooses units by user_field" in caplog.text
    assert "{true: 0.5, false: 0.5}" in caplog.text
