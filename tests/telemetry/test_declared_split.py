"""The declared split follows the documented resolution, and is refused where it would be a guess."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exd_dagster.telemetry.manifest.declared_split import DeclaredSplit, declared_split
from exd_dagster.telemetry.manifest.model import (
    Bucket,
    EnvironmentBlock,
    Manifest,
    ManifestFlag,
    Rule,
    Segment,
)
from exd_dagster.telemetry.manifest.read import read_manifest
from tests.telemetry.manifests import US, flag, rules, segment, write


def derive(tmp_path, files, environment=None, key="f") -> DeclaredSplit:
    (manifest,) = read_manifest(write(tmp_path / "checkout", files))
    return declared_split(manifest, key, environment)


THREE_WAY = '[flag.environments._]\nvariant = "control"\n' + rules(
    "c -> control", "a -> treat_a", "b -> treat_b"
)


def test_three_way_split_inside_one_predicate_holds_among_matched_units(tmp_path):
    split = derive(
        tmp_path,
        {
            "flags/f.toml": flag(THREE_WAY, "control treat_a treat_b"),
            "segments/c.toml": segment(0, 3299, predicate=US),
            "segments/a.toml": segment(3300, 6599, predicate=US),
            "segments/b.toml": segment(6600, 9999, predicate=US),
        },
    )
    assert split.split == {"control": 0.33, "treat_a": 0.33, "treat_b": 0.34}
    assert split.matched_only


def test_rollout_leaves_the_rest_to_the_default(tmp_path):
    files = {
        "flags/f.toml": flag('[flag.environments._]\nvariant = "off"\n' + rules("early -> on")),
        "segments/early.toml": segment(0, 999),
    }
    assert derive(tmp_path, files) == DeclaredSplit({"on": 0.1, "off": 0.9}, space=("user.id", "s"))


def test_overlapping_ranges_go_to_the_earlier_rule(tmp_path):
    files = {
        "flags/f.toml": flag('[flag.environments._]\nvariant = "c"\n' + rules("x -> a", "y -> b"), "a b c"),
        "segments/x.toml": segment(0, 4999),
        "segments/y.toml": segment(4000, 7999),
    }
    assert derive(tmp_path, files).split == {"a": 0.5, "b": 0.3, "c": 0.2}


ROLLOUT_EVERYWHERE = '[flag.environments._]\nvariant = "off"\n' + rules("early -> on")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ('variant = "off"', {"off": 1.0}),
        ("testing = false", {"on": 0.1, "off": 0.9}),
        ("rules = []", {"off": 1.0}),
        ('variant = "on"\nrules = []', {"on": 1.0}),
        (
            'testing = true\n[[flag.environments.production.rules]]\nsegment="early"\nvariant="on"',
            {"off": 1.0},
        ),
    ],
    ids=["kill_switch", "empty_block", "no_rules", "own_default", "testing_hides_rules"],
)
def test_environment_block_resolves_as_documented(tmp_path, block, expected):
    files = {
        "flags/f.toml": flag(f"{ROLLOUT_EVERYWHERE}\n[flag.environments.production]\n{block}"),
        "segments/early.toml": segment(0, 999),
    }
    assert derive(tmp_path, files, "production").split == expected


def test_environment_without_a_block_uses_the_catch_all(tmp_path):
    files = {"flags/f.toml": flag(ROLLOUT_EVERYWHERE), "segments/early.toml": segment(0, 999)}
    assert derive(tmp_path, files, "staging").split == {"on": 0.1, "off": 0.9}


def test_missing_salt_is_the_segment_key(tmp_path):
    files = {
        "flags/f.toml": flag('[flag.environments._]\nvariant = "off"\n' + rules("early -> on")),
        "segments/early.toml": segment(0, 999, salt=""),
    }
    assert derive(tmp_path, files).space == ("user.id", "early")


TWO_RULES = flag('[flag.environments._]\nvariant = "off"\n' + rules("x -> on", "y -> off"))


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (
            {"segments/x.toml": segment(0, 9), "segments/y.toml": segment(10, 19, salt="t")},
            "2 assignment spaces",
        ),
        (
            {"segments/x.toml": segment(0, 9), "segments/y.toml": segment(10, 19, entity="org.id")},
            "2 assignment spaces",
        ),
        (
            {"segments/x.toml": segment(0, 9, predicate=US), "segments/y.toml": segment(10, 19)},
            "different predicates",
        ),
        (
            {
                "segments/x.toml": f'schema_version = "0.1"\n[segment.predicate]\n{US}',
                "segments/y.toml": segment(0, 9),
            },
            "'x' has only a predicate",
        ),
        ({"segments/x.toml": segment(0, 9), "segments/yy.toml": segment(1, 2)}, "E005 unknown segment 'y'"),
        ({"segments/x.toml": segment(9, 0), "segments/y.toml": segment(0, 9)}, "E006"),
        (
            {
                "segments/x.toml": segment(0, 9, predicate='segment = "z"'),
                "segments/y.toml": segment(10, 19, predicate='segment = "z"'),
                "segments/z.toml": segment(0, 4999),
            },
            "refers to segment 'z'",
        ),
    ],
    ids=["salts", "entities", "some_predicate", "predicate_only", "unknown", "bad_range", "nested_bucket"],
)
def test_split_that_would_be_a_guess_is_refused_with_what_to_pass(tmp_path, files, word):
    split = derive(tmp_path, {"flags/f.toml": TWO_RULES, **files})
    assert split.split is None
    assert word in split.refusal
    assert split.refusal.endswith("pass the split: {variant: share, ...}")


def test_one_variant_inside_a_predicate_is_refused(tmp_path):
    files = {
        "flags/f.toml": flag(ROLLOUT_EVERYWHERE),
        "segments/early.toml": segment(0, 999, predicate=US),
    }
    assert "only 'on' is served inside the predicate's audience" in derive(tmp_path, files).refusal


def test_inline_predicate_is_refused(tmp_path):
    inline = '[[flag.environments._.rules]]\nvariant = "on"\n[flag.environments._.rules.predicate]\n' + US
    files = {"flags/f.toml": flag(f'[flag.environments._]\nvariant = "off"\n{inline}')}
    assert "inline predicate" in derive(tmp_path, files).refusal


def test_unknown_environment_is_refused_with_the_nearest(tmp_path):
    files = {
        "namespace.toml": 'schema_version = "0.1"\n[namespace]\nslug = "c"\n'
        "[namespace.environments]\nproduction = {}\n",
        "flags/f.toml": flag('[flag.environments._]\nvariant = "off"'),
    }
    assert (
        "E010 environment 'prodution' is not declared. Did you mean 'production'?"
        in derive(tmp_path, files, "prodution").refusal
    )


def test_unknown_flag_is_refused_with_the_nearest(tmp_path):
    files = {"flags/checkout.toml": flag('[flag.environments._]\nvariant = "off"')}
    assert "Did you mean 'checkout'?" in derive(tmp_path, files, key="chekout").refusal


VARIANTS = ("a", "b", "c")
BLOCKS = st.builds(
    EnvironmentBlock,
    variant=st.none() | st.sampled_from(VARIANTS),
    rules=st.none()
    | st.lists(
        st.builds(Rule, st.sampled_from(VARIANTS), st.sampled_from(["s0", "s1", "s2"])), max_size=4
    ).map(tuple),
    testing=st.booleans(),
)
RANGES = st.tuples(st.integers(0, 9999), st.integers(0, 9999)).map(sorted)


def served(flag: ManifestFlag, segments: dict[str, Segment], environment: str, bucket: int) -> str:
    """Resolve one unit step by step as exd documents it, testing rules hidden."""
    block, catch_all = flag.environments.get(environment), flag.environments["_"]

    def walk(rules):
        for rule in rules:
            span = segments[rule.segment].bucket
            if span.start <= bucket <= span.end:
                return rule.variant
        return None

    if block is not None and block.rules is not None and not block.testing and (found := walk(block.rules)):
        return found
    if block is not None and block.variant is not None:
        return block.variant
    if (block is None or block.rules is None) and (found := walk(catch_all.rules or ())):
        return found
    return catch_all.variant


@settings(max_examples=60)
@given(st.none() | BLOCKS, BLOCKS, st.sampled_from(VARIANTS), st.lists(RANGES, min_size=3, max_size=3))
def test_shares_count_the_buckets_each_variant_is_served(block, catch_all, default, ranges):
    blocks = {"_": replace(catch_all, variant=default, testing=False)}
    if block is not None:
        blocks["production"] = block
    flag = ManifestFlag("f", VARIANTS, blocks)
    segments = {
        f"s{i}": Segment(f"s{i}", bucket=Bucket("user.id", "salt", start, end))
        for i, (start, end) in enumerate(ranges)
    }
    counts = Counter(served(flag, segments, "production", bucket) for bucket in range(10_000))
    derived = declared_split(
        Manifest("n", None, None, {"f": flag}, segments, datetime.now(timezone.utc)), "f", "production"
    )
    assert derived.split == {variant: counts[variant] / 10_000 for variant in VARIANTS if counts[variant]}
