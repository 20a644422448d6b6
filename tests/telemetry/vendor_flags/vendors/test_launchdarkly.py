"""LaunchDarkly: REST representation, SDK data and audit log."""

from datetime import datetime, timezone

import pytest

from exd_dagster.errors import ConfigError
from tests.telemetry.vendor_flags import read, shares

ROLLOUT = {"variations": [{"variation": 0, "weight": 33_334}, {"variation": 1, "weight": 66_666}]}


def block(**changes):
    return {
        "on": True,
        "archived": False,
        "salt": "salt-1",
        "lastModified": 1_772_500_000_000,
        "targets": [],
        "rules": [],
        "fallthrough": {"rollout": ROLLOUT},
        "offVariation": 1,
        "prerequisites": [],
        **changes,
    }


def rest(**changes):
    return {
        "key": "checkout",
        "tags": ["growth"],
        "_maintainer": {"email": "ada@example.com"},
        "_maintainerTeam": {"key": "payments"},
        "variations": [{"_id": "v-a", "value": True, "name": "On"}, {"_id": "v-b", "value": False}],
        "environments": {"production": block(**changes), "test": block(on=False)},
    }


def test_weights_are_thousandths_of_a_percent_and_arms_go_by_index(tmp_path):
    flag = read(tmp_path, rest(), environment="production")["checkout"]
    assert shares(flag) == {"0": 0.33334, "1": 0.66666}


@pytest.mark.parametrize(
    ("form", "names"), [("value", ["true", "false"]), ("key", ["On", "false"]), ("id", ["v-a", "v-b"])]
)
def test_variants_names_the_arms_as_the_records_do(tmp_path, form, names):
    flag = read(tmp_path, rest(), environment="production", variants=form)["checkout"]
    assert list(flag.split) == names


def test_team_person_and_tags_are_carried_over(tmp_path):
    flag = read(tmp_path, rest(), environment="production")["checkout"]
    assert (flag.owners, flag.tags) == (("ada@example.com", "team:payments"), {"growth": ""})


def test_a_flag_counts_from_its_last_change_where_no_start_is_given(tmp_path):
    flag = read(tmp_path, rest(), environment="production", start=None)["checkout"]
    assert flag.start == datetime(2026, 3, 3, 1, 6, 40, tzinfo=timezone.utc)


def test_a_flag_that_is_off_is_left_out(tmp_path, caplog):
    assert read(tmp_path, rest(), environment="test") == {}
    assert "flag checkout is stopped and left out" in caplog.text


def test_environment_has_to_be_named_and_known(tmp_path):
    with pytest.raises(ConfigError, match="it has the environments production, test; name environment="):
        read(tmp_path, rest())
    with pytest.raises(ConfigError, match="'prod' is not in the export; it has production, test"):
        read(tmp_path, rest(), environment="prod")


def test_a_rule_that_serves_something_else_is_refused_with_what_to_declare(tmp_path, caplog):
    flag = read(tmp_path, rest(rules=[{"variation": 0, "clauses": [{}]}]), environment="production")[
        "checkout"
    ]
    assert flag.split is None
    assert "serve {On: 1} and, where none matches, {On: 0.3333, false: 0.6667}" in caplog.text
    assert 'include={"evaluation_reason": ["FALLTHROUGH"]}' in caplog.text


def test_a_rule_that_serves_the_same_rollout_is_no_obstacle(tmp_path):
    flag = read(tmp_path, rest(rules=[{"rollout": ROLLOUT, "clauses": [{}]}]), environment="production")[
        "checkout"
    ]
    assert shares(flag) == {"0": 0.33334, "1": 0.66666}


def test_a_rule_that_hashes_another_attribute_is_refused(tmp_path):
    rules = [{"rollout": {**ROLLOUT, "bucketBy": "country"}, "clauses": [{}]}]
    assert read(tmp_path, rest(rules=rules), environment="production")["checkout"].split is None


def test_prerequisites_are_refused(tmp_path, caplog):
    document = rest(prerequisites=[{"key": "other", "variation": 0}])
    assert read(tmp_path, document, environment="production")["checkout"].split is None
    assert "it has prerequisites" in caplog.text


def test_contexts_targeted_by_name_are_reported(tmp_path, caplog):
    read(tmp_path, rest(targets=[{"variation": 0, "values": ["ada", "bob"]}]), environment="production")
    assert "2 contexts are targeted by name" in caplog.text


def test_a_list_without_rules_says_how_to_ask(tmp_path, caplog):
    document = rest()
    del document["environments"]["production"]["fallthrough"]
    assert read(tmp_path, {"items": [document]}, environment="production")["checkout"].split is None
    assert "?env=...&summary=0" in caplog.text


def test_weights_that_do_not_make_a_whole_are_refused(tmp_path, caplog):
    half = {"variations": [{"variation": 0, "weight": 50_000}]}
    assert (
        read(tmp_path, rest(fallthrough={"rollout": half}), environment="production")["checkout"].split
        is None
    )
    assert "weights sum to 50000, not 100000" in caplog.text


def test_data_of_an_sdk_has_plain_variations(tmp_path):
    flag = {
        "key": "checkout", "on": True, "version": 3, "salt": "x", "variations": ["a", "b"], "offVariation": 0,
        "fallthrough": {"rollout": {"kind": "experiment", "seed": 7, "variations": [
            {"variation": 0, "weight": 10_000}, {"variation": 1, "weight": 10_000},
            {"variation": 0, "weight": 80_000, "untracked": True}]}},
    }  # fmt: skip
    assert shares(read(tmp_path, {"flags": {"checkout": flag}})["checkout"]) == {"0": 0.9, "1": 0.1}


def test_the_audit_log_gives_phases_and_a_new_salt_assigns_afresh(tmp_path):
    even = {
        "rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}
    }
    log = {"items": [
        {"date": 1_773_100_800_000, "kind": "flag", "currentVersion": rest(fallthrough=even, salt="salt-2")},
        {"date": 1_772_496_000_000, "kind": "flag", "currentVersion": rest(fallthrough=even)},
        {"date": 1_772_323_200_000, "kind": "flag", "currentVersion": rest()},
    ]}  # fmt: skip
    flag = read(tmp_path, log, environment="production", start=None)["checkout"]
    assert flag.start == datetime(2026, 3, 1, tzinfo=timezone.utc)
    assert [(phase.start.day, phase.split["0"], phase.rerandomized) for phase in flag.phases] == [
        (3, 0.5, False),
        (10, 0.5, True),
    ]
