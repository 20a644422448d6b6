"""The drill: a planted fault is found by the check that is for it, hour by hour, on a copy."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from exd_dagster.cli.drill.drill import DrillResult, Fault, delay, run_drill
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.errors import ConfigError, RecordsError
from exd_dagster.telemetry.sources.duckdb import FileRecords, IbisRecords, ParquetRecords, Records
from tests.logs import HOUR, START, healthy, rows, write

HOURS = 300
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
FLAG = FlagAudit(key="checkout", split={"control": 0.5, "treatment": 0.5}, start=START)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ParquetRecords:
    """Twelve healthy days of one flag, and another flag that is none of its business."""
    folder = tmp_path_factory.mktemp("log")
    glob = write(folder, rows("checkout", healthy(HOURS, 40)), rows("other", healthy(HOURS, 1)))
    return ParquetRecords(path=glob)


def drilled(log: Records, kind: str, flag: FlagAudit = FLAG, **options) -> DrillResult:
    return run_drill(log, flag, kind, thresholds=Thresholds(), timing=Timing(), now=NOW, **options)


def blocked(done: DrillResult) -> dict[str, float | None]:
    return {detection.check: delay(done.fault, detection.blocked) for detection in done.checks}


def test_a_dead_arm_is_found_within_hours_by_the_checks_of_the_split(log):
    done = drilled(log, "dead_arm")
    assert blocked(done)["sequential_srm"] <= 3
    assert blocked(done)["srm"] is not None
    assert {detection.before for detection in done.checks} == {"pass"}
    assert "treatment" in next(s.sentence for s in done.checks if s.check == "sequential_srm")


def test_the_arm_that_loses_units_is_the_last_one_served_when_the_fault_begins(log):
    """Not one that has a share in a later phase only, nor one whose share is 0."""
    even, later = FLAG.split, {"control": 0.4, "treatment": 0.4, "third": 0.2}
    phases = [{"start": START + 299 * HOUR, "split": later}]
    flag = FlagAudit(key="checkout", split={**even, "off": 0.0}, start=START, phases=phases)
    assert drilled(log, "dead_arm", flag).fault.arm == "treatment"


def test_a_drop_is_found_by_the_traffic_check_alone(log):
    found = blocked(drilled(log, "drop"))
    assert found["traffic_drop"] <= 6
    assert (found["srm"], found["sequential_srm"]) == (None, None)


def test_an_arm_that_loses_some_units_is_found_by_the_sequential_check(log):
    assert blocked(drilled(log, "srm", size=0.5))["sequential_srm"] <= 24


def test_a_fault_of_nothing_is_found_by_nobody(log):
    assert set(blocked(drilled(log, "srm", size=1e-5)).values()) == {None}


def test_the_fault_begins_when_it_is_reported_to(log):
    since = START + 250 * HOUR + timedelta(minutes=20)
    assert drilled(log, "dead_arm", since=since, arm="control").fault == Fault(
        "dead_arm", START + 250 * HOUR, 1.0, "control"
    )


def test_total_silence_is_reported_although_no_record_lands(log):
    done = drilled(log, "drop", size=1.0)
    assert blocked(done)["traffic_drop"] <= 4
    assert done.through == START + (HOURS - 2) * HOUR


def test_a_log_of_lines_can_be_rehearsed_too(tmp_path):
    rows("checkout", healthy(60, 40)).to_csv(tmp_path / "log.csv", index=False)
    done = drilled(FileRecords(path=tmp_path / "log.csv"), "dead_arm")
    assert blocked(done)["sequential_srm"] <= 3


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"arm": "treatmnt"}, "Did you mean 'treatment'?"),
        ({"since": START - HOUR}, "is not between 2026-03-01T00:00Z and"),
        ({"flag": FLAG.model_copy(update={"split": None})}, "declares no split"),
    ],
)
def test_what_cannot_be_planted_says_why(log, options, fault):
    with pytest.raises(ConfigError) as caught:
        drilled(log, "dead_arm", **options)
    assert fault in str(caught.value)


def test_a_flag_without_records_says_so(log):
    with pytest.raises(RecordsError, match="no closed hour of flag 'chekout'"):
        drilled(log, "drop", flag=FLAG.model_copy(update={"key": "chekout"}))


def test_a_table_of_another_engine_is_not_copied():
    table = IbisRecords(connection=SimpleNamespace(name="postgres", table=None), table="flag_evaluations")
    with pytest.raises(RecordsError, match=r"postgres:flag_evaluations stays where it is.*Parquet"):
        drilled(table, "drop")


def test_the_log_itself_is_not_touched(log):
    files = sorted(Path(log.paths[0]).parent.iterdir())
    before = [file.read_bytes() for file in files]
    drilled(log, "drop", since=START + 290 * HOUR)
    assert sorted(Path(log.paths[0]).parent.iterdir()) == files
    assert [file.read_bytes() for file in files] == before


class TestSegment:
    """A fault in one browser alone: --where."""

    FLAG = FLAG.model_copy(update={"dimensions": ("browser",)})

    @pytest.fixture(scope="class")
    def browsers(self, tmp_path_factory: pytest.TempPathFactory) -> ParquetRecords:
        frames = []
        for name, units in (("Chrome", 70), ("Firefox", 20), ("Safari", 10)):
            frame = rows("checkout", healthy(120, units)).assign(browser=name)
            frame["unit_id_hash"] = f"{name}-" + frame["unit_id_hash"]
            frames.append(frame)
        return ParquetRecords(path=write(tmp_path_factory.mktemp("browsers"), *frames))

    def told(self, browsers: ParquetRecords, kind: str = "dead_arm", **options: object) -> DrillResult:
        return drilled(browsers, kind, **{"flag": self.FLAG, "where": {"browser": "Safari"}, **options})

    def test_a_dead_arm_of_one_browser_is_found_and_named_long_before_the_whole_split_fails(self, browsers):
        done = self.told(browsers)
        found = {one.check: one for one in done.checks}
        hours = delay(done.fault, found["segment_srm"].warned)
        assert hours <= 5
        assert found["segment_srm"].blocked is None
        assert (delay(done.fault, found["sequential_srm"].warned) or 48) > 5 * hours
        assert found["segment_srm"].sentence.startswith("Only browser = Safari: treatment 0 %")
        assert str(done.fault).endswith("'treatment' with browser = Safari are lost.")
        assert done.as_json()["fault"]["where"] == {"browser": "Safari"}

    def test_only_records_of_the_segment_are_lost(self, browsers):
        """Of the others none: their split stays even, so leaving the segment out makes the flag usable."""
        (found,) = [one for one in self.told(browsers).checks if one.check == "segment_srm"]
        assert "elsewhere 50 %" in found.sentence
        assert found.sentence.endswith("usable without browser = Safari.")

    def test_a_column_that_is_no_dimension_is_reported_with_the_option(self, browsers):
        done = self.told(browsers, flag=FLAG)
        assert "does with dimensions=['browser'] of the flag" in done.note
        assert [one.warned for one in done.checks if one.check == "segment_srm"] == [None]

    @pytest.mark.parametrize(
        ("where", "fault"),
        [
            ({"browsr": "Safari"}, "'browsr' is no column of this log. Did you mean 'browser'?"),
            ({"browser": "Safary"}, "no record of this flag has browser = 'Safary'. Did you mean 'Safari'?"),
            ({"browser": "x"}, "Known: Chrome, Firefox, Safari."),
        ],
    )
    def test_a_segment_that_is_not_in_the_log_is_refused_with_the_nearest(self, browsers, where, fault):
        with pytest.raises(ConfigError) as caught:
            self.told(browsers, where=where)
        assert fault in str(caught.value)
