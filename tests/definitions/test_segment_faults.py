"""A split that broke in one segment is reported as that: segment first, its picture, no report blocked."""

from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from exd_dagster.audit.trust import trust_verdict
from exd_dagster.audit.trust_page import trust_page
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.audit.trust_table import TrustEntry, read_trust, write_trust
from exd_dagster.config import FlagId
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict
from exd_dagster.stats.verdict import Verdict
from tests.fleet import Fleet, built
from tests.logs import HOUR, START, healthy, rows, write

HOURS = 10
SAFARI = "Only sdk\\_version = 4.2.0: treatment 0 % of 200 units"


def run(folder: Path, instance: dg.DagsterInstance, honest: int) -> dg.ExecuteInProcessResult:
    """Audit a flag of honest units and of a version that never serves treatment: 20 units an hour."""
    fleet = Fleet(folder, {"checkout": healthy(HOURS, honest)})
    faulty = rows("checkout", [{"control": 20}] * HOURS).assign(sdk_version="4.2.0")
    faulty["unit_id_hash"] = "faulty-" + faulty["unit_id_hash"]
    honest_rows = rows("checkout", healthy(HOURS, honest)).assign(sdk_version="4.1.0")
    beat = rows("beat", healthy(1), start=START + (HOURS + 2) * HOUR).assign(sdk_version="4.1.0")
    write(folder / "log", honest_rows, faulty, beat)
    return fleet.run(instance)


@pytest.fixture(scope="module")
def warned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dg.ExecuteInProcessResult]:
    folder = tmp_path_factory.mktemp("warned")
    with dg.instance_for_test() as instance:
        return folder, run(folder, instance, honest=600)


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return next(each for each in result.get_asset_check_evaluations() if each.check_name == name)


def test_a_value_of_a_second_dimension_that_explains_it_is_told_with_it(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Of version 4.2.0 the browser loses treatment and the server does not, as the log says."""
    fleet = Fleet(tmp_path, {"checkout": healthy(HOURS, 600)})
    server = rows("checkout", healthy(HOURS, 20)).assign(sdk_version="4.2.0", sdk_name="server")
    server["unit_id_hash"] = "server-" + server["unit_id_hash"]
    browser = rows("checkout", [{"control": 20}] * HOURS).assign(sdk_version="4.2.0", sdk_name="browser")
    browser["unit_id_hash"] = "browser-" + browser["unit_id_hash"]
    honest = rows("checkout", healthy(HOURS, 600)).assign(sdk_version="4.1.0")
    honest["sdk_name"] = ["server", "browser"] * (len(honest) // 2)
    beat = rows("beat", healthy(1), start=START + (HOURS + 2) * HOUR)
    write(tmp_path / "log", honest, server, browser, beat)
    result = fleet.run(instance)
    looked = (
        "Within it only sdk_name = browser: treatment 0 % of 200 units, elsewhere in it 50 % (exploratory, "
        "2 values of sdk_name compared)."
    )
    segment = check(result, "segment_srm")
    assert segment.metadata["within"].value == looked
    assert segment.metadata["details"].value["within"]["named"] == ["sdk_name = browser"]
    assert looked in str(check(result, "trust").metadata["details"].value["sentence"])
    with duckdb.connect(str(tmp_path / "bins.duckdb"), read_only=True) as connection:
        (entry,) = read_trust(connection)
    assert looked in trust_page([entry.row], written_at=START)


def test_the_flag_is_trusted_with_a_warning_that_names_the_segment(warned) -> None:
    trust = check(warned[1], "trust")
    assert trust.passed
    assert str(trust.description).startswith(f"Trusted, with a warning. {SAFARI}")
    assert trust.metadata["usable_without"].value == ["sdk_version = 4.2.0"]


def test_no_report_is_blocked(warned) -> None:
    assert "checkout_report" in built(warned[1])


def test_the_check_shows_a_row_per_segment_in_its_picture_and_its_table(warned) -> None:
    shown = check(warned[1], "segment_srm")
    svg = b64decode(str(shown.description).partition("base64,")[2].rstrip(")")).decode()
    assert "sdk_version = 4.2.0" in svg
    assert "sdk_version = 4.1.0" in svg
    table = shown.metadata["segments"].records
    assert [row.data["segment"] for row in table[:2]] == ["sdk_version = 4.2.0", "sdk_version = 4.1.0"]


def test_the_trust_page_shows_the_sentence_the_picture_and_what_to_leave_out(warned) -> None:
    with duckdb.connect(str(warned[0] / "bins.duckdb"), read_only=True) as connection:
        (entry,) = read_trust(connection)
    assert (entry.row.standing, entry.row.failing) == ("warning", ("segment_srm",))
    assert entry.row.usable_without == ("sdk_version = 4.2.0",)
    page = trust_page([entry.row], written_at=START)
    assert "<dt>Usable without</dt><dd>sdk_version = 4.2.0</dd>" in page
    assert "Split by segment: fail" in entry.row.picture


def test_where_the_whole_split_fails_the_segment_that_explains_it_is_said_first(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = run(tmp_path, instance, honest=60)
    assert "checkout_report" not in built(result)
    trust, srm = check(result, "trust"), check(result, "srm")
    assert str(trust.description).startswith(f"Not trusted. {SAFARI}")
    assert (
        "Split by segment" in b64decode(str(trust.description).partition("base64,")[2].split(")")[0]).decode()
    )
    details = srm.metadata["details"].value
    assert details["segment_fault"]["usable_without"] == ["sdk_version = 4.2.0"]


def test_a_table_of_an_earlier_version_is_read_and_gains_the_column() -> None:
    row = TrustRow(flag=FlagId("", "", "f"), iteration_start=START, trusted=True, sentence="")
    with duckdb.connect() as connection:
        write_trust(connection, TrustEntry(row))
        connection.execute("ALTER TABLE flag_trust DROP COLUMN usable_without")
        assert read_trust(connection)[0].row == row
        later = replace(row, usable_without=("browser = Safari",))
        write_trust(connection, TrustEntry(later))
        assert read_trust(connection)[0].row == later


def test_hours_at_fault_of_a_flag_that_itself_fails_are_not_those_of_its_segments() -> None:
    known = {"verdict": "fail", "sentence": "", "audited_through": START + 9 * HOUR}
    later = {"bad_from": START + 5 * HOUR, "usable_until": START + 5 * HOUR}
    whole = Verdict(check="sequential_srm", severity="ERROR", **known, **later)
    segment = SegmentSrmVerdict(
        check="segment_srm", severity="WARN", **known, bad_from=START, usable_until=START
    )
    answer = trust_verdict([whole], "block", warnings=[segment])
    assert (answer.bad_from, answer.usable_until) == (START + 5 * HOUR, START + 5 * HOUR)
    assert answer.failing == ("sequential_srm", "segment_srm")
    alone = trust_verdict([replace(whole, verdict="pass", severity=None)], "block", warnings=[segment])
    assert (alone.trusted, alone.bad_from) == (True, START)
