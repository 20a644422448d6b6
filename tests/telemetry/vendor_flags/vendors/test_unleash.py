"""Unleash: client features, an instance's export, and one feature of the admin API."""

import pytest

from exd_dagster.errors import ConfigError
from tests.telemetry.vendor_flags import read, shares

VARIANTS = [
    {"name": "blue", "weight": 600, "weightType": "variable", "stickiness": "userId"},
    {"name": "green", "weight": 400, "weightType": "fix", "stickiness": "userId"},
]


def strategy(rollout="100", **changes):
    settings = {"rollout": rollout, "stickiness": "userId", "groupId": "checkout"}
    return {"name": "flexibleRollout", "parameters": settings, "constraints": [], "variants": [], **changes}


def feature(*strategies, variants=(), **changes):
    made = {"name": "checkout", "enabled": True, "strategies": list(strategies), "variants": list(variants)}
    return {"version": 2, "features": [{**made, **changes}]}


def test_a_flag_without_variants_is_a_switch(tmp_path):
    assert shares(read(tmp_path, feature(strategy("30")))["checkout"]) == {"true": 0.3, "false": 0.7}


def test_variants_split_what_the_rollout_lets_in_and_disabled_is_no_variant(tmp_path):
    flag = read(tmp_path, feature(strategy("50"), variants=VARIANTS))["checkout"]
    assert (shares(flag), flag.coverage, flag.ignore_variants) == (
        {"blue": 0.6, "green": 0.4},
        0.5,
        ("disabled",),
    )


def test_weights_of_variants_are_relative(tmp_path):
    variants = [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]
    assert shares(read(tmp_path, feature(strategy(), variants=variants))["checkout"]) == {
        "a": 0.25,
        "b": 0.75,
    }


def test_variants_of_the_strategy_replace_those_of_the_flag(tmp_path):
    own = [{"name": "x", "weight": 1000, "stickiness": "userId"}]
    assert shares(read(tmp_path, feature(strategy(variants=own), variants=VARIANTS))["checkout"]) == {"x": 1}


def test_a_strategy_for_everybody_makes_the_others_irrelevant(tmp_path):
    constrained = strategy("10", constraints=[{"contextName": "country"}])
    flag = read(tmp_path, feature(constrained, strategy(), variants=VARIANTS))["checkout"]
    assert shares(flag) == {"blue": 0.6, "green": 0.4}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (feature(strategy("10", constraints=[{"contextName": "country"}])), "constraints or segments"),
        (feature(strategy("10", segments=[1])), "constraints or segments"),
        (feature(strategy("10"), strategy("20")), "declare the split with include="),
        (feature({"name": "userWithId", "parameters": {"userIds": "a"}}), "chooses units by name"),
        (feature(strategy(), dependencies=[{"feature": "parent"}]), "depends on another flag"),
        (feature(strategy(), variants=[{**VARIANTS[0], "weight": 0}]), "sum to 0"),
    ],
)
def test_what_makes_the_shares_unknown_is_refused(tmp_path, caplog, document, why):
    assert read(tmp_path, document)["checkout"].split is None
    assert why in caplog.text


def test_an_export_joins_features_strategies_environments_and_tags(tmp_path):
    document = {
        "features": [{"name": "checkout", "archived": False}],
        "featureStrategies": [{"featureName": "checkout", **strategy(variants=VARIANTS)}],
        "featureEnvironments": [{"featureName": "checkout", "environment": "production", "enabled": True}],
        "featureTags": [{"featureName": "checkout", "tagType": "simple", "tagValue": "growth"}],
    }
    flag = read(tmp_path, document, environment="production")["checkout"]
    assert (shares(flag), flag.tags) == ({"blue": 0.6, "green": 0.4}, {"growth": ""})
    with pytest.raises(ConfigError, match="'dev' is not in the export; it has production"):
        read(tmp_path, document, environment="dev")


def test_a_feature_of_the_admin_api_is_read_in_the_named_environment(tmp_path):
    environments = [
        {"name": "development", "enabled": False, "strategies": []},
        {"name": "production", "enabled": True, "strategies": [strategy("25")]},
    ]
    document = {"name": "checkout", "environments": environments, "createdBy": {"email": "ada@example.com"}}
    flag = read(tmp_path, document, environment="production")["checkout"]
    assert (shares(flag), flag.owners) == ({"true": 0.25, "false": 0.75}, ("ada@example.com",))
    assert read(tmp_path, document, environment="development") == {}
