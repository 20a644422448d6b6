"""Declared splits are held against the newest closed day of the log, in files and in an engine."""

from pathlib import Path

import pandas as pd
import pytest

from exd_dagster.cli.doctor.diagnosis import Diagnosis
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.telemetry.sources.duckdb import ParquetRecords
from tests.bins.engine_log import COLUMNS, in_duckdb
from tests.cli.doctor.test_data import SPLIT, about, plan
from tests.logs import HOUR, START, rows, write

NOW = START + 60 * HOUR
PLACES = ["files", "engine"]


def reported(
    folder: Path, place: str, counts: list, subject: str = "splits", **declared: object
) -> list[Diagnosis]:
    """Return what is said of a log of checkout with these units an hour."""
    log = rows("checkout", counts)
    records = (
        in_duckdb(log, COLUMNS) if place == "engine" else ParquetRecords(path=write(folder / "log", log))
    )
    flag = FlagAudit(**{"key": "checkout", "split": SPLIT, "start": START, **declared})
    return about(subject, plan(folder, records, flag), NOW)


def hours(control: int, treatment: int, count: int = 50) -> list[dict[str, int]]:
    return [{"control": control, "treatment": treatment}] * count


@pytest.mark.parametrize("place", PLACES)
def test_a_split_that_the_log_shows_is_well(tmp_path, place):
    (well,) = reported(tmp_path, place, hours(20, 20))
    assert (well.state, well.said) == ("ok", "960 units of one day agree with 1 declared split")


@pytest.mark.parametrize("place", PLACES)
def test_a_split_copied_wrong_is_reported_with_the_plausible_one(tmp_path, place):
    (wrong,) = reported(tmp_path, place, hours(32, 8))
    assert wrong.state == "warn"
    assert wrong.said == (
        "'checkout' is declared control 50 %, treatment 50 %; "
        "960 units up to 2026-03-03 00:00 UTC show control 80 %, treatment 20 %"
    )
    assert wrong.fix.startswith("if control 80 %, treatment 20 % was configured, correct split=")


def test_shares_that_only_a_fault_gives_are_reported_without_another_split(tmp_path):
    (wrong,) = reported(tmp_path, "files", hours(56, 44))
    assert "show control 56 %, treatment 44 %" in wrong.said
    assert wrong.fix.startswith("look at its checks")


def test_a_variant_that_has_no_unit_is_named(tmp_path):
    (wrong,) = reported(tmp_path, "files", hours(40, 0))
    assert wrong.fix == "check that treatment is served, and is spelled this way in the records"


def test_a_variant_nobody_declared_is_in_the_shares(tmp_path):
    (wrong,) = reported(tmp_path, "files", [{"control": 20, "treatment": 20, "third": 20}] * 30)
    assert "third 33.3 %" in wrong.said


def test_only_the_newest_closed_day_is_asked(tmp_path):
    (well,) = reported(tmp_path, "files", [*hours(32, 8, 26), *hours(20, 20, 25)])
    assert well.state == "ok"


def test_a_fault_of_chance_is_not_reported(tmp_path):
    (well,) = reported(tmp_path, "files", hours(22, 18))
    assert well.state == "ok"


@pytest.mark.parametrize(
    "phase",
    [
        Phase(start=START + 10 * HOUR, split={"control": 0.8, "treatment": 0.2}, rerandomized=True),
        Phase(start=START + 90 * HOUR, split={"control": 0.5, "treatment": 0.5}),
    ],
)
def test_the_phase_in_force_is_what_is_compared(tmp_path, phase):
    states = [d.state for d in reported(tmp_path, "files", hours(32, 8), phases=(phase,))]
    assert states == (["ok"] if phase.rerandomized else ["warn"])


def test_units_that_an_earlier_phase_may_have_assigned_are_not_judged(tmp_path):
    phase = Phase(start=START + 10 * HOUR, split={"control": 0.5, "treatment": 0.5})
    split = {"control": 0.8, "treatment": 0.2}
    assert reported(tmp_path, "files", hours(32, 8), split=split, phases=(phase,)) == []


@pytest.mark.parametrize("declared", [{"end": START + 9 * HOUR}, {"split": None}, {"key": "other"}])
def test_nothing_is_said_of_flags_that_ended_have_no_split_or_are_not_there(tmp_path, declared):
    assert reported(tmp_path, "files", hours(32, 8), **declared) == []


def test_a_filter_on_a_column_that_is_not_there_fails(tmp_path):
    (wrong,) = reported(tmp_path, "files", hours(20, 20), include={"enviroment": ["production"]})
    assert wrong.state == "fail"
    assert "Did you mean 'environment'?" in wrong.said


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("declared", "fix"),
    [
        ({"key": "Checkout"}, "Did you mean 'checkout'?"),
        ({"environment": "Production"}, "the log has it with no namespace, environment 'production'"),
        ({"namespace": "shop"}, "the log has it with no namespace, environment 'production'"),
    ],
)
def test_a_flag_that_nothing_is_counted_of_says_what_to_correct(tmp_path, place, declared, fix):
    (lost,) = reported(tmp_path, place, hours(20, 20), "flags", **declared)
    assert lost.state == "fail"
    assert lost.fix.endswith(fix)


def test_an_engine_whose_table_is_empty_is_reported(tmp_path):
    empty = rows("checkout", []).astype({"timestamp": "datetime64[us, UTC]"})
    (lost,) = about("records", plan(tmp_path, in_duckdb(pd.DataFrame(empty), COLUMNS)), NOW)
    assert lost.state == "fail"
    assert "no record since the first flag's start" in lost.said
