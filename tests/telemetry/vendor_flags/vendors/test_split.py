"""Split: splitChanges, Admin API definitions and localhost files."""

from datetime import datetime, timezone

import pytest

from tests.telemetry.vendor_flags import START, flags_from, read, shares

HALVES = [{"treatment": "on", "size": 50}, {"treatment": "off", "size": 50}]


def rule(partitions=HALVES, matcher="ALL_KEYS", kind="ROLLOUT"):
    matchers = {"combiner": "AND", "matchers": [{"matcherType": matcher, "negate": False}]}
    return {"conditionType": kind, "matcherGroup": matchers, "partitions": partitions, "label": matcher}


def changes(*conditions, **changed):
    made = {
        "name": "checkout", "status": "ACTIVE", "killed": False, "defaultTreatment": "off",
        "seed": 42, "algo": 2,
        "trafficAllocation": 100, "trafficAllocationSeed": 43, "changeNumber": 1_772_500_000_000,
        "conditions": list(conditions) or [rule()],
    }  # fmt: skip
    return {"splits": [{**made, **changed}], "since": -1, "till": 1}


def test_partitions_are_percent(tmp_path):
    thirds = [{"treatment": t, "size": s} for t, s in (("a", 34), ("b", 33), ("c", 33))]
    assert shares(read(tmp_path, changes(rule(thirds)))["checkout"]) == {"a": 0.34, "b": 0.33, "c": 0.33}


def test_specification_1_3_keeps_definitions_under_ff_d(tmp_path):
    document = {"ff": {"d": changes()["splits"], "s": -1, "t": 1}, "rbs": {"d": [], "s": -1, "t": 1}}
    assert shares(read(tmp_path, document)["checkout"]) == {"on": 0.5, "off": 0.5}


def test_units_outside_the_traffic_allocation_are_left_out_by_their_label(tmp_path):
    flag = read(tmp_path, changes(trafficAllocation=30))["checkout"]
    assert (flag.coverage, flag.exclude) == (0.3, {"evaluation_reason": ["not in split"]})


def test_the_change_number_is_when_it_was_changed(tmp_path):
    assert read(tmp_path, changes(), start=None)["checkout"].start == datetime(
        2026, 3, 3, 1, 6, 40, tzinfo=timezone.utc
    )


def test_rules_after_the_one_for_all_keys_never_match(tmp_path):
    late = rule([{"treatment": "on", "size": 100}], "IN_SEGMENT")
    assert shares(read(tmp_path, changes(rule(), late))["checkout"]) == {"on": 0.5, "off": 0.5}


@pytest.mark.parametrize("conditions", [
    (rule([{"treatment": "on", "size": 100}], "IN_SEGMENT"), rule()),
    (rule(matcher="IN_SEGMENT"),),
])  # fmt: skip
def test_rules_that_serve_something_else_are_refused_with_both(tmp_path, caplog, conditions):
    assert read(tmp_path, changes(*conditions))["checkout"].split is None
    assert "its rules serve" in caplog.text


def test_a_killed_flag_is_left_out(tmp_path, caplog):
    assert read(tmp_path, changes(killed=True)) == {}
    assert "flag checkout is stopped" in caplog.text


def test_keys_listed_by_name_are_reported(tmp_path, caplog):
    read(tmp_path, changes(rule([{"treatment": "on", "size": 100}], "WHITELIST", "WHITELIST"), rule()))
    assert "keys that are listed by name count" in caplog.text


def test_definitions_of_the_admin_api(tmp_path):
    one = {
        "name": "checkout", "environment": {"name": "Production"}, "defaultTreatment": "off",
        "killed": False, "rules": [], "defaultRule": HALVES, "trafficAllocation": 100,
        "owners": [{"email": "ada@example.com"}],
    }  # fmt: skip
    flag = read(tmp_path, {"objects": [one]}, environment="Production")["checkout"]
    assert (shares(flag), flag.owners) == ({"on": 0.5, "off": 0.5}, ("ada@example.com",))


def test_a_localhost_file_has_fixed_treatments_and_listed_keys_are_refused(tmp_path, caplog):
    file = tmp_path / "split.yaml"
    file.write_text(
        "- plain:\n    treatment: 'on'\n- listed:\n    treatment: 'on'\n    keys: ada\n"
        "- listed:\n    treatment: 'off'\n"
    )
    listed, plain = flags_from(file, start=START)
    assert (plain.split, listed.split) == ({"on": 1.0}, None)
    assert "lists keys by treatment" in caplog.text
