"""`init` without a hint names preset, flag, units and arms of what vendors and SDKs write."""

import json
from datetime import timedelta

import pandas as pd
import pytest
from click.testing import CliRunner

from exd_dagster.cli.init.command import init
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.preset import read_preset
from tests.cli.test_init import definitions
from tests.telemetry.presets.samples import EXPORTS, FLAG, START, iso, other, posthog, sample, write_ndjson


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*arguments):
    return CliRunner().invoke(init, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize("name", EXPORTS)
def test_flag_units_and_arms_of_a_preset_are_named_without_a_hint(name, home):
    made = sample(name)
    write_ndjson(made.rows, home.parent / "export.ndjson")
    said = run("../export.ndjson").output
    total = sum(made.units.values())
    assert f"{made.flag}: {total:,} units" in said
    assert all(arm in said for arm in made.units)
    text = (home / "definitions.py").read_text()
    assert (f'preset="{name}"' in text) == (name != "exd")
    assert definitions(home)["FLAGS"][0].key == made.flag


def test_by_what_the_export_was_recognised_is_said(home):
    write_ndjson(sample("posthog").rows, home.parent / "export.ndjson")
    said = run("../export.ndjson").output
    assert "looks like PostHog (preset 'posthog'): event = $feature_flag_called" in said


def test_component_names_the_preset_too(home):
    write_ndjson(sample("posthog").rows, home.parent / "export.ndjson")
    run("../export.ndjson", "--yaml")
    assert 'preset: "posthog"' in (home / "flag_audit/defs/flag_audit/defs.yaml").read_text()


def test_unit_that_most_exposures_name_is_taken(home):
    rows = [{**row, "userId": None} for row in sample("segment").rows]
    write_ndjson(rows, home.parent / "export.ndjson")
    run("../export.ndjson")
    assert 'unit="anonymous"' in (home / "definitions.py").read_text()


def _ambiguous():
    """Rows that have the signature of two exports, which say as much."""
    makers = [EXPORTS[name].row for name in ("statsig", "mixpanel")]
    rows = [[make(f"u{i}", "ab"[i % 2], START, i) for make in makers] for i in range(20)]
    return [{**first, **second} for first, second in rows]


def test_two_exports_that_fit_are_listed_with_the_option_to_choose(home):
    write_ndjson(_ambiguous(), home.parent / "export.ndjson")
    with pytest.raises(RecordsError, match=r"(?s)may be one of 2 exports.*--preset \w+.*--preset \w+"):
        run("../export.ndjson")


def test_export_that_a_person_names_is_not_asked_about(home):
    write_ndjson(_ambiguous(), home.parent / "export.ndjson")
    run("../export.ndjson", "--preset", "statsig")
    assert 'preset="statsig"' in (home / "definitions.py").read_text()


def test_export_whose_signs_fit_but_which_lacks_a_column_is_read_by_names(home):
    rows = [
        {"flag": FLAG, "targeting_key": f"u{i}", "variant": "ab"[i % 2], "happened": iso(START)}
        for i in range(99)
    ]
    write_ndjson(rows, home.parent / "export.ndjson")
    run("../export.ndjson")
    text = (home / "definitions.py").read_text()
    assert "preset" not in text
    assert '"timestamp": "happened"' in text


def test_export_that_no_preset_knows_is_read_by_names_and_values(home):
    rows = [
        {
            "sentAt": iso(START + timedelta(minutes=i)),
            "exposure": {"experiment": {"key": FLAG}, "arm": {"name": "ab"[i % 2]}},
            "visitor": {"id": f"u{i % 90}"},
        }
        for i in range(300)
    ]
    write_ndjson(rows, home.parent / "export.ndjson")
    said = run("../export.ndjson").output
    assert f"{FLAG}: 90 units" in said
    assert "exposure.arm.name" in (home / "definitions.py").read_text()


def test_parquet_with_objects_is_recognised_like_json(home):
    rows = [row for row in sample("posthog").rows if row["event"] == "$feature_flag_called"]
    pd.DataFrame(rows).to_parquet(home.parent / "export.parquet")
    run("../export.parquet")
    assert 'preset="posthog"' in (home / "definitions.py").read_text()


def test_traps_of_the_export_are_told(home):
    write_ndjson(sample("amplitude").rows, home.parent / "export.ndjson")
    assert read_preset("amplitude").caveats[0] in run("../export.ndjson").output


def test_file_of_rows_in_one_list_is_recognised(home):
    (home.parent / "export.json").write_text(json.dumps(sample("statsig-events").rows))
    run("../export.json")
    assert 'preset="statsig-events"' in (home / "definitions.py").read_text()


def test_mix_of_two_exports_is_told_before_anything_is_written(home):
    view = other(posthog, event="$pageview", properties={})
    rows = [*sample("posthog").rows, *sample("ga4").rows, view("u", START, 1)]
    write_ndjson(rows, home.parent / "export.ndjson")
    with pytest.raises(RecordsError, match="is a mix of exports"):
        run("../export.ndjson")
    assert not (home / "definitions.py").exists()
