"""PostHog: flags, experiments and the activity log."""

from datetime import datetime, timezone

import pytest

from tests.telemetry.vendor_flags import read, shares

TWO = {"variants": [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]}


def filters(*groups, multivariate=None, **more):
    return {
        "groups": list(groups) or [{"properties": [], "rollout_percentage": 40}],
        "multivariate": multivariate,
        **more,
    }


def flag(body, **changes):
    made = {"key": "checkout", "active": True, "deleted": False, "filters": body, "tags": ["growth"]}
    return {
        "count": 1,
        "next": None,
        "results": [{**made, "created_by": {"email": "ada@example.com"}, **changes}],
    }


def test_a_boolean_flag_is_true_for_its_rollout_and_false_for_the_rest(tmp_path):
    assert shares(read(tmp_path, flag(filters()))["checkout"]) == {"true": 0.4, "false": 0.6}


def test_variants_share_the_rollout_and_the_rest_is_answered_with_false(tmp_path):
    assert shares(read(tmp_path, flag(filters(multivariate=TWO)))["checkout"]) == {
        "control": 0.2,
        "test": 0.2,
        "false": 0.6,
    }


def test_conditions_without_properties_share_one_hash_so_that_the_widest_counts(tmp_path):
    groups = ({"properties": [], "rollout_percentage": 10}, {"properties": [], "rollout_percentage": None})
    assert shares(read(tmp_path, flag(filters(*groups)))["checkout"]) == {"true": 1.0}
    assert shares(read(tmp_path, flag(filters(*groups, early_exit=True)))["checkout"]) == {
        "true": 0.1,
        "false": 0.9,
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (filters({"properties": [{"key": "email"}]}), 'ignore_variants=["false"]'),
        (filters({"properties": [{"key": "email"}]}, {"properties": []}), "differ in properties or variants"),
        (filters(super_groups=[{}]), "holdout or early access"),
        (filters(feature_enrollment=True), "holdout or early access"),
        ({"groups": []}, "no release condition"),
    ],
)
def test_what_makes_the_shares_unknown_is_refused(tmp_path, caplog, body, why):
    assert read(tmp_path, flag(body))["checkout"].split is None
    assert why in caplog.text


def test_owner_and_tags_are_carried_over(tmp_path):
    made = read(tmp_path, flag(filters()))["checkout"]
    assert (made.owners, made.tags) == (("ada@example.com",), {"growth": ""})


@pytest.mark.parametrize("change", [{"active": False}, {"deleted": True}])
def test_an_inactive_or_deleted_flag_is_left_out(tmp_path, change):
    assert read(tmp_path, flag(filters(), **change)) == {}


def test_one_page_of_several_is_reported(tmp_path, caplog):
    read(tmp_path, {**flag(filters()), "next": "https://us.posthog.com/api/..."})
    assert "are one page of several (next)" in caplog.text


def test_an_experiment_counts_from_its_start(tmp_path):
    experiment = {
        "feature_flag": flag(filters(multivariate=TWO))["results"][0],
        "start_date": "2026-03-04T10:00:00Z",
    }
    made = read(tmp_path, {"results": [experiment]}, start=None)["checkout"]
    assert made.start == datetime(2026, 3, 4, 10, tzinfo=timezone.utc)
    assert read(tmp_path, {"results": [{**experiment, "start_date": None}]}) == {}


def test_the_activity_log_gives_phases_and_the_end(tmp_path):
    def change(when, *fields):
        listed = [
            {"type": "FeatureFlag", "action": "changed", "field": f, "after": after} for f, after in fields
        ]
        return {
            "activity": "updated",
            "scope": "FeatureFlag",
            "created_at": when,
            "detail": {"name": "checkout", "changes": listed},
        }

    log = [
        change("2026-03-20T00:00:00Z", ("active", False)),
        change(
            "2026-03-09T00:00:00.123456Z", ("filters", filters({"properties": [], "rollout_percentage": 80}))
        ),
        change("2026-03-05T00:00:00Z", ("name", "renamed")),
        change("2026-03-02T00:00:00Z", ("filters", filters())),
    ]
    made = read(tmp_path, {"results": log}, start="2026-03-01")["checkout"]
    (phase,) = made.phases
    assert (made.start.day, made.split["true"], made.end.day) == (2, 0.4, 20)
    assert (phase.start.day, phase.split["true"], phase.rerandomized) == (9, 0.8, False)
