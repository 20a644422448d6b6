"""What holds for every vendor: which file is read how, and how copies become phases."""

import os
from datetime import datetime, timezone

import pytest

from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.vendor_flags.read import flags_from
from exd_dagster.telemetry.vendor_flags.registry import READERS
from tests.telemetry.vendor_flags import write


def colour(red=50, key="colour", state="ENABLED"):
    targeting = {"fractional": [["red", red], ["blue", 100 - red]]}
    flag = {
        "state": state,
        "variants": {"red": 1, "blue": 2},
        "defaultVariant": "red",
        "targeting": targeting,
    }
    return {"flags": {key: flag}}


def utc(day, hour=0, minute=0):
    return datetime(2026, 3, day, hour, minute, tzinfo=timezone.utc)


def test_copies_named_by_their_instant_become_phases(tmp_path):
    write(tmp_path / "flags-2026-03-01.json", colour(10))
    write(tmp_path / "flags-20260305T0930.json", colour(10))
    write(tmp_path / "flags-20260308T0930Z.json", colour(50))
    (flag,) = flags_from(tmp_path)
    assert (flag.start, flag.split) == (utc(1), {"red": 0.1, "blue": 0.9})
    assert [(phase.start, phase.split["red"], phase.rerandomized) for phase in flag.phases] == [
        (utc(8, 9, 30), 0.5, False)
    ]


def test_copies_are_given_by_the_instant_each_took_effect_too(tmp_path):
    old, new = write(tmp_path / "a.json", colour(10)), write(tmp_path / "b.json", colour(50))
    (flag,) = flags_from({"2026-03-08T12:00Z": new, "2026-03-01": old})
    assert (flag.start, [phase.start for phase in flag.phases]) == (utc(1), [utc(8, 12)])


def test_start_begins_with_the_copy_in_force_there(tmp_path):
    for day, red in (("01", 10), ("05", 20), ("09", 30)):
        write(tmp_path / f"2026-03-{day}.json", colour(red))
    (flag,) = flags_from(tmp_path, start="2026-03-06")
    assert (flag.start, flag.split["red"]) == (utc(6), 0.2)
    assert [phase.start for phase in flag.phases] == [utc(9)]


@pytest.mark.parametrize("last", [{"flags": colour(10, "other")["flags"]}, colour(10, state="DISABLED")])
def test_a_flag_that_a_copy_removes_or_stops_ends_there(tmp_path, last):
    write(tmp_path / "2026-03-01.json", colour(10))
    write(tmp_path / "2026-03-05.json", last)
    write(tmp_path / "2026-03-09.json", last)
    flag = next(flag for flag in flags_from(tmp_path) if flag.key == "colour")
    assert flag.end == utc(5)


def test_a_flag_that_was_off_for_a_while_keeps_its_phase(tmp_path):
    write(tmp_path / "2026-03-01.json", colour(10))
    write(tmp_path / "2026-03-05.json", colour(10, state="DISABLED"))
    write(tmp_path / "2026-03-09.json", colour(10))
    (flag,) = flags_from(tmp_path)
    assert (flag.phases, flag.end) == ((), None)


def test_one_refused_copy_takes_the_split_of_the_whole_flag(tmp_path, caplog):
    write(tmp_path / "2026-03-01.json", colour(10))
    bad = colour()
    bad["flags"]["colour"]["targeting"] = {"if": [True, "red", "blue"]}
    write(tmp_path / "2026-03-05.json", bad)
    (flag,) = flags_from(tmp_path)
    assert (flag.split, flag.phases) == (None, ())
    assert "flag colour: no split declared" in caplog.text


def test_a_folder_without_instants_holds_the_parts_of_one_export(tmp_path):
    write(tmp_path / "page-one.json", colour(10, "a"))
    write(tmp_path / "page-two.json", colour(20, "b"))
    assert [flag.key for flag in flags_from(tmp_path, start="2026-03-01")] == ["a", "b"]


def test_a_folder_in_which_only_some_names_hold_an_instant_is_refused(tmp_path):
    write(tmp_path / "2026-03-01.json", colour())
    write(tmp_path / "latest.json", colour())
    with pytest.raises(ConfigError, match=r"'latest.json' has no time in its name, others do"):
        flags_from(tmp_path)


def test_without_an_instant_a_flag_counts_from_the_last_change_of_the_file_and_a_warning_says_so(
    tmp_path, caplog
):
    file = write(tmp_path / "flags.json", colour())
    os.utime(file, (0, utc(5, 13).timestamp()))
    assert [flag.start for flag in flags_from(file)] == [utc(5, 13)]
    assert "pass start='2026-03-05T13:00:00Z'" in caplog.text


def test_one_file_says_nothing_of_what_held_before_the_flags_last_change(tmp_path, caplog):
    export = {"results": [{"key": "f", "active": True, "filters": {"groups": [{"rollout_percentage": 50}]}}]}
    export["results"][0]["updated_at"] = "2026-03-04T00:00:00Z"
    file = write(tmp_path / "flags.json", export)
    assert [flag.start for flag in flags_from(file, start="2026-03-01")] == [utc(4)]
    assert "flag f was changed on 2026-03-04 00:00 UTC, after start" in caplog.text
    assert [flag.start for flag in flags_from({"2026-03-01": file})] == [utc(1)]


def test_keys_choose_flags_by_globs(tmp_path):
    flags = {**colour(10, "search-a")["flags"], **colour(10, "pay-b")["flags"], **colour(10, "x")["flags"]}
    file = write(tmp_path / "flags.json", {"flags": flags})
    assert [flag.key for flag in flags_from(file, keys=["search-*", "x"], start="2026-03-01")] == [
        "search-a",
        "x",
    ]
    assert [flag.key for flag in flags_from(file, keys="pay-*", start="2026-03-01")] == ["pay-b"]


def test_namespace_environment_mode_and_end_are_those_given(tmp_path):
    file = write(tmp_path / "flags.json", colour())
    (flag,) = flags_from(
        file, start="2026-03-01", end="2026-04-01", namespace="shop", environment="prod", mode="warn"
    )
    assert (str(flag.id), flag.mode, flag.end) == (
        "shop/prod/colour",
        "warn",
        datetime(2026, 4, 1, tzinfo=timezone.utc),
    )


@pytest.mark.parametrize("name", sorted(READERS))
def test_another_vendors_export_is_refused_with_what_it_looks_like(tmp_path, name):
    file = write(tmp_path / "flags.json", colour())
    if name == "flagd":
        assert flags_from(file, vendor=name, start="2026-03-01")
        return
    with pytest.raises(ConfigError, match=f"is not an export of {name}: .*; it looks like flagd"):
        flags_from(file, vendor=name)


def test_a_form_that_nobody_writes_is_refused_with_all_that_are_known(tmp_path):
    with pytest.raises(ConfigError, match="is of no known form") as caught:
        flags_from(write(tmp_path / "x.json", {"rows": [1]}))
    assert all(any(fault.startswith(f"{name}:") for fault in caught.value.faults) for name in READERS)


def test_a_form_of_two_vendors_is_asked_about(tmp_path):
    both = {"flags": {**colour()["flags"], "x": {"allocations": [], "enabled": True}}}
    with pytest.raises(ConfigError, match="looks like eppo and flagd; give one, for example vendor='eppo'"):
        flags_from(write(tmp_path / "x.json", both))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x.json", "{", "cannot be parsed"),
        ("x.yaml", "a: [", "cannot be parsed"),
        ("x.json", b"\xff\xfe\xfa", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, why):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=why):
        flags_from(tmp_path / name)


def test_a_place_without_an_export_says_what_to_pass(tmp_path):
    with pytest.raises(ConfigError, match="does not exist; pass what the vendor exports"):
        flags_from(tmp_path / "nowhere.json")
    with pytest.raises(ConfigError, match=r"has no .json, .yaml or .yml file"):
        flags_from(tmp_path)


def test_an_unknown_vendor_or_form_is_refused_with_the_nearest(tmp_path):
    file = write(tmp_path / "x.json", colour())
    with pytest.raises(ConfigError, match="Did you mean 'growthbook'"):
        flags_from(file, vendor="growth-book")
    with pytest.raises(ConfigError, match=r"variants: 'kex' is not known. Did you mean 'key'"):
        flags_from(file, variants="kex")


def test_one_flag_whose_definition_is_not_as_documented_does_not_stop_the_others(tmp_path, caplog):
    broken = colour(10, "broken")["flags"]["broken"]
    broken["targeting"] = {"fractional": [["red", 1], []]}
    file = write(tmp_path / "x.json", {"flags": {"broken": broken, **colour()["flags"]}})
    broken_flag, good = flags_from(file, start="2026-03-01")
    assert (broken_flag.split, good.split) == (None, {"red": 0.5, "blue": 0.5})
    assert "flag broken: no split declared: its definition is not as documented" in caplog.text
