"""The audited splits are held against the manifest that declares them."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from exd_dagster.cli.doctor.diagnosis import Diagnosis
from exd_dagster.cli.doctor.manifest import diagnose_manifest
from exd_dagster.config import FlagAudit
from tests.telemetry.manifests import flag, rollout, rules, write

NOW = datetime(2026, 3, 20, tzinfo=timezone.utc)


def diagnosed(folder: Path, **declared: object) -> Diagnosis:
    rollout(folder / "shop")
    write(
        folder / "shop",
        {"flags/by-hand.toml": flag(f'[flag.environments._]\nvariant = "off"\n{rules("? -> on")}')},
    )
    audit = FlagAudit(**{"key": "new-checkout", "namespace": "shop", "start": "2026-03-01", **declared})
    (reported,) = diagnose_manifest(folder / "shop", "production", [audit], NOW)
    return reported


def test_a_flag_audited_as_declared_is_well(tmp_path):
    reported = diagnosed(tmp_path, split={"on": 0.1, "off": 0.9})
    assert (reported.state, reported.said) == ("ok", "1 flag audited with the split it declares")


def test_a_flag_audited_otherwise_fails_with_both_splits(tmp_path):
    reported = diagnosed(tmp_path, split={"on": 0.5, "off": 0.5})
    assert reported.state == "fail"
    assert reported.said == "'shop/new-checkout' is declared on 0.1, off 0.9, audited as on 0.5, off 0.5"


def test_the_phase_in_force_is_what_is_compared(tmp_path):
    phases = [
        {"start": "2026-03-10", "split": {"on": 0.1, "off": 0.9}},
        {"start": "2026-03-21", "split": {"on": 0.5, "off": 0.5}},
    ]
    assert diagnosed(tmp_path, split={"on": 0.01, "off": 0.99}, phases=phases).state == "ok"


def test_a_flag_audited_without_a_split_is_reported_the_declared_one(tmp_path):
    reported = diagnosed(tmp_path)
    assert (reported.state, reported.said) == (
        "warn",
        "'shop/new-checkout' is declared on 0.1, off 0.9, audited without",
    )


def test_a_split_that_cannot_be_derived_says_why_unless_one_is_given(tmp_path):
    reported = diagnosed(tmp_path, key="by-hand")
    assert reported.state == "warn"
    assert "'shop/by-hand': E005 unknown segment '?'" in reported.said
    assert diagnosed(tmp_path, key="by-hand", split={"on": 0.5, "off": 0.5}).state == "ok"


def test_a_flag_that_left_the_manifest_is_named(tmp_path):
    reported = diagnosed(tmp_path, key="gone")
    assert (reported.state, reported.said) == ("warn", "'shop/gone' is not in shop")


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_place_without_a_manifest_fails_with_the_fix(tmp_path, place):
    (reported,) = diagnose_manifest(tmp_path / place, None, [], NOW)
    assert reported.state == "fail"
    assert "flags/" in reported.fix


@pytest.mark.parametrize(
    ("declared", "near"),
    [
        ({"key": "New_Checkout"}, "Did you mean 'new-checkout'?"),
        ({"namespace": "shoop"}, "Another namespace declares the key."),
    ],
)
def test_a_flag_that_no_manifest_has_names_the_nearest(tmp_path, declared, near):
    reported = diagnosed(tmp_path, **declared)
    assert reported.state == "warn"
    assert reported.fix.endswith(near)
