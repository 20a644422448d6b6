"""flagd and OpenFeature flag definitions."""

import pytest

from tests.telemetry.vendor_flags import START, flags_from, read, shares

FRACTIONAL = {"fractional": [["red", 30], ["blue", 10]]}


def definitions(targeting, **changes):
    flag = {
        "state": "ENABLED",
        "variants": {"red": "#f00", "blue": "#00f"},
        "defaultVariant": "red",
        "targeting": targeting,
    }
    return {"flags": {"colour": {**flag, **changes}}}


@pytest.mark.parametrize(
    ("arguments", "split"),
    [
        ([["red", 30], ["blue", 10]], {"red": 0.75, "blue": 0.25}),
        ([{"var": "email"}, ["red"], ["blue"]], {"red": 0.5, "blue": 0.5}),
        ([["red"], ["blue", 3]], {"red": 0.25, "blue": 0.75}),
        ([["red", 30], ["blue", 10], ["red", 60]], {"red": 0.9, "blue": 0.1}),
    ],
)
def test_weights_are_relative_and_one_where_none_is_written(tmp_path, arguments, split):
    assert shares(read(tmp_path, definitions({"fractional": arguments}))["colour"]) == split


def test_without_targeting_everybody_gets_the_default(tmp_path):
    assert shares(read(tmp_path, definitions({}))["colour"]) == {"red": 1.0}


def test_a_shared_evaluator_is_put_in_place(tmp_path):
    document = {**definitions({"$ref": "split"}), "$evaluators": {"split": FRACTIONAL}}
    assert shares(read(tmp_path, document)["colour"]) == {"red": 0.75, "blue": 0.25}


def test_a_split_inside_a_condition_is_refused_with_what_to_declare(tmp_path, caplog):
    targeting = {"if": [{"==": [{"var": "country"}, "US"]}, FRACTIONAL, "red"]}
    assert read(tmp_path, definitions(targeting))["colour"].split is None
    assert "splits {red: 0.75, blue: 0.25} only if a condition is met" in caplog.text


def test_targeting_without_a_split_is_refused(tmp_path, caplog):
    targeting = {"if": [{"==": [{"var": "country"}, "US"]}, "blue", "red"]}
    assert read(tmp_path, definitions(targeting))["colour"].split is None
    assert "chooses variants by conditions" in caplog.text


def test_computed_weights_are_refused(tmp_path, caplog):
    targeting = {"fractional": [["red", {"var": "share"}], ["blue", 10]]}
    assert read(tmp_path, definitions(targeting))["colour"].split is None
    assert "computes variants or weights" in caplog.text


def test_another_bucketing_key_assigns_afresh(tmp_path):
    first, second = (tmp_path / day for day in ("2026-03-01", "2026-03-08"))
    read(first, definitions(FRACTIONAL))
    read(second, definitions({"fractional": [{"var": "email"}, *FRACTIONAL["fractional"]]}))
    (flag,) = flags_from(tmp_path, start=START)
    assert [(phase.start.day, phase.rerandomized) for phase in flag.phases] == [(8, True)]


def test_yaml_is_read_too_and_a_disabled_flag_is_left_out(tmp_path):
    file = tmp_path / "flags.yaml"
    text = "flags:\n  colour:\n    state: {}\n    variants: {{red: 1, blue: 2}}\n    defaultVariant: red\n"
    file.write_text(text.format("ENABLED"))
    assert [flag.key for flag in flags_from(file, start=START)] == ["colour"]
    file.write_text(text.format("DISABLED"))
    assert flags_from(file, start=START) == []


@pytest.mark.parametrize(
    ("by", "alike"),
    [
        ({"var": "email"}, True),
        ({"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}, False),
    ],
)
def test_flags_that_hash_their_units_alike_are_reported(tmp_path, caplog, by, alike):
    targeting = {"fractional": [by, ["red", 30], ["blue", 10]]}
    flags = {key: definitions(targeting)["flags"]["colour"] for key in ("a", "b")}
    read(tmp_path, {"flags": flags})
    assert ("flags a, b are assigned by one hash" in caplog.text) == alike
