"""Optimizely: the datafile."""

import pytest

from tests.telemetry.vendor_flags import read, shares


def experiment(*ranges, **changes):
    allocation = [{"entityId": entity, "endOfRange": end} for entity, end in ranges]
    made = {
        "id": "45678", "key": "checkout", "status": "Running", "layerId": "1", "audienceIds": [],
        "variations": [{"id": "11", "key": "control"}, {"id": "22", "key": "treatment"}],
        "trafficAllocation": allocation, "forcedVariations": {},
    }  # fmt: skip
    return {**made, **changes}


def datafile(*experiments, groups=()):
    return {
        "version": "4",
        "projectId": "1",
        "revision": "6",
        "experiments": list(experiments),
        "groups": list(groups),
    }


def test_ends_of_ranges_give_the_split(tmp_path):
    assert shares(read(tmp_path, datafile(experiment(("11", 2500), ("22", 10_000))))["checkout"]) == {
        "control": 0.25,
        "treatment": 0.75,
    }


def test_ranges_that_hold_nobody_lower_the_coverage(tmp_path):
    flag = read(tmp_path, datafile(experiment(("11", 2500), ("", 5000), ("22", 7500))))["checkout"]
    assert (shares(flag), flag.coverage) == ({"control": 0.5, "treatment": 0.5}, 0.5)


def test_an_experiment_of_a_random_group_gets_the_share_the_group_gives_it(tmp_path):
    ranges = [{"entityId": "9", "endOfRange": 3000}, {"entityId": "45678", "endOfRange": 7000}]
    inside = [experiment(("11", 5000), ("22", 10_000))]
    group = {"id": "g", "policy": "random", "experiments": inside, "trafficAllocation": ranges}
    assert read(tmp_path, datafile(groups=[group]))["checkout"].coverage == pytest.approx(0.4)


def test_variations_go_by_id_where_the_records_do(tmp_path):
    document = datafile(experiment(("11", 5000), ("22", 10_000)))
    assert list(read(tmp_path, document, variants="id")["45678"].split) == ["11", "22"]


@pytest.mark.parametrize(
    ("end", "rollout", "split"),
    [(10_000, "r", {"control": 0.5, "treatment": 0.5}), (5000, "", {"control": 1.0}), (5000, "r", {})],
)
def test_a_flag_has_the_split_of_its_experiment_where_nothing_else_serves_it(tmp_path, end, rollout, split):
    one = experiment(("11", 5000), *([("22", end)] if end > 5000 else []))
    flags = [{"id": "1", "key": "new-ui", "experimentIds": ["45678"], "rolloutId": rollout}]
    assert shares(read(tmp_path, {**datafile(one), "featureFlags": flags})["new-ui"]) == split


def test_an_experiment_that_does_not_run_is_left_out(tmp_path):
    assert read(tmp_path, datafile(experiment(("11", 10_000), status="Paused"))) == {}


def test_nobody_in_it_and_bandits_are_refused(tmp_path, caplog):
    assert read(tmp_path, datafile(experiment()))["checkout"].split is None
    assert "traffic allocation is 0" in caplog.text
    bandit = experiment(("11", 10_000), cmab={"trafficAllocation": 10_000})
    assert read(tmp_path, datafile(bandit))["checkout"].split is None
    assert "a bandit assigns its units" in caplog.text


def test_forced_users_are_reported(tmp_path, caplog):
    read(tmp_path, datafile(experiment(("11", 5000), ("22", 10_000), forcedVariations={"ada": "control"})))
    assert "1 users are forced into a variation" in caplog.text


def test_units_outside_an_audience_get_the_delivery_of_a_flag(tmp_path):
    flags = [{"id": "1", "key": "new-ui", "experimentIds": ["45678"], "rolloutId": "r"}]
    for audience, known in (([], True), (["9"], False)):
        one = experiment(("11", 5000), ("22", 10_000), audienceIds=audience)
        flag = read(tmp_path, {**datafile(one), "featureFlags": flags})["new-ui"]
        assert (flag.split is not None) == known
