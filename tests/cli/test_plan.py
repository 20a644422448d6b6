"""`exd-dagster plan`: what `plan_detection` says, as a table and as JSON, without a project."""

import json

import pytest
from click.testing import CliRunner

from exd_dagster.cli import main
from exd_dagster.stats.sequential.power import plan_detection

HALF = {"control": 0.5, "treatment": 0.5}


def run(arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["plan", *arguments.split()])
    return result.exit_code, result.output


def test_json_has_the_numbers_of_plan_detection():
    code, output = run("--units-per-hour 1000 --loses 0.5 --segment-share 0.1 --format json")
    (plan,) = json.loads(output)["plans"]
    third = {"control": 2 / 3, "treatment": 1 / 3}
    known = plan_detection(HALF, third, 1000, segment_share=0.1, longest_hours=24 * 28)
    assert code == 0
    assert plan == {"loses": 0.5, **known.as_metadata()}


def test_the_table_has_a_row_for_each_fault_and_says_what_the_whole_flag_hides():
    code, output = run("--units-per-hour 1000 --loses 1 --loses 0.5 --segment-share 0.1")
    header, *rows, last = output.splitlines()
    third = plan_detection(HALF, {"control": 2 / 3, "treatment": 1 / 3}, 1000, segment_share=0.1)
    assert code == 0
    assert [row.split()[0] for row in rows] == ["100", "50"]
    assert rows[1].split()[2:] == [
        *(str(third.median_hours), "h", str(third.hours), "h"),
        *(f"{third.units:,}", str(third.whole_flag_hours), "h"),
    ]
    assert header.endswith("whole flag")
    assert last == "Found by segment_srm in a segment of 10 % of the units, one of 40."


def test_what_takes_longer_than_was_simulated_is_said():
    _, output = run("--units-per-hour 5 --loses 0.05 --days 2")
    assert "over 2 d" in output


def test_an_arm_of_an_uneven_split_may_lose_units():
    arguments = "--units-per-hour 500 --loses 0.5 --split a=0.8,b=0.1,c=0.1 --arm a --format json"
    _, output = run(arguments)
    found = json.loads(output)
    assert found["split"] == {"a": 0.8, "b": 0.1, "c": 0.1}
    assert found["plans"][0]["hours"] >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--split control --units-per-hour 9", "'control' is no share"),
        ("--split a=0.5,b=0.7 --units-per-hour 9", "1.2"),
        ("--arm nobody --units-per-hour 9", "'nobody' is not in the split"),
        ("--units-per-hour 0", "units_per_hour is 0"),
        ("--units-per-hour 9 --segment-share 2", "segment_share is above 0"),
        ("", "--units-per-hour"),
    ],
)
def test_what_cannot_be_planned_is_an_error_that_says_why(arguments: str, said: str):
    code, output = run(arguments)
    assert code == 2
    assert said in output
