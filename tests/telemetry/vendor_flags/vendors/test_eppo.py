"""Eppo: the server configuration."""

import pytest

from exd_dagster.errors import ConfigError
from tests.telemetry.vendor_flags import read, shares


def split(variation, *ranges, traffic=None, salt="checkout-split"):
    shards = [{"salt": salt, "ranges": [{"start": start, "end": end} for start, end in ranges]}]
    if traffic:
        shards.append({"salt": "checkout-traffic", "ranges": [{"start": 0, "end": traffic}]})
    return {"variationKey": variation, "shards": shards}


def allocation(key, *splits, **changes):
    return {"key": key, "splits": list(splits), "doLog": True, **changes}


def config(*allocations, **changes):
    flag = {
        "key": "checkout", "enabled": True, "variationType": "STRING", "totalShards": 10_000,
        "variations": {"a": {"key": "a", "value": "A"}, "b": {"key": "b", "value": "B"}},
        "allocations": list(allocations),
    }  # fmt: skip
    return {"createdAt": "2026-03-02T00:00:00Z", "format": "SERVER", "environment": {"name": "Test"},
            "flags": {"checkout": {**flag, **changes}}}  # fmt: skip


EXPERIMENT = allocation("exp", split("a", (0, 3000), traffic=6000), split("b", (3000, 10_000), traffic=6000))


def test_shards_give_the_split_and_the_traffic_shard_the_coverage(tmp_path):
    flag = read(tmp_path, config(EXPERIMENT))["checkout-exp"]
    assert (shares(flag), flag.coverage) == ({"a": 0.3, "b": 0.7}, 0.6)


def test_rules_leave_the_split_alone_since_only_units_inside_are_recorded(tmp_path):
    ruled = {**EXPERIMENT, "rules": [{"conditions": [{"attribute": "country"}]}]}
    rest = allocation("default", {"variationKey": "a", "shards": []}, doLog=False)
    flags = read(tmp_path, config(ruled, rest))
    assert {key: shares(flag) for key, flag in flags.items()} == {"checkout-exp": {"a": 0.3, "b": 0.7}}


def test_a_shard_belongs_to_the_first_split_that_holds_it(tmp_path):
    flag = read(tmp_path, config(allocation("exp", split("a", (0, 6000)), split("b", (4000, 10_000)))))[
        "checkout-exp"
    ]
    assert shares(flag) == {"a": 0.6, "b": 0.4}


def test_every_recorded_allocation_is_an_experiment_of_its_own(tmp_path):
    both = config(EXPERIMENT, allocation("rollout", {"variationKey": "a", "shards": []}))
    flags = read(tmp_path, both)
    assert {key: shares(flag) for key, flag in flags.items()} == {
        "checkout-exp": {"a": 0.3, "b": 0.7},
        "checkout-rollout": {"a": 1.0},
    }


def test_an_allocation_that_takes_units_by_the_same_salt_before_is_refused(tmp_path, caplog):
    early = allocation("early", split("a", (0, 1000)), doLog=False)
    assert read(tmp_path, config(early, EXPERIMENT))["checkout-exp"].split is None
    assert "allocation 'early' before it takes units by the same salt" in caplog.text


def test_an_allocation_that_has_ended_does_not_count(tmp_path):
    ended = allocation("old", {"variationKey": "a", "shards": []}, endAt="2026-02-01T00:00:00.000Z")
    assert shares(read(tmp_path, config(ended, EXPERIMENT))["checkout-exp"]) == {"a": 0.3, "b": 0.7}


def test_splits_by_several_salts_are_refused(tmp_path, caplog):
    odd = allocation("exp", split("a", (0, 5000)), split("b", (5000, 10_000), salt="other"))
    assert read(tmp_path, config(odd))["checkout-exp"].split is None
    assert "splits by several salts" in caplog.text


def test_a_configuration_for_browsers_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="keys are hashed for browsers"):
        read(tmp_path, {**config(EXPERIMENT), "format": "CLIENT"})


def test_the_environment_must_be_that_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="'Production' is not in the export; it has Test"):
        read(tmp_path, config(EXPERIMENT), environment="Production")


def test_a_disabled_flag_is_left_out(tmp_path):
    assert read(tmp_path, config(EXPERIMENT, enabled=False)) == {}
