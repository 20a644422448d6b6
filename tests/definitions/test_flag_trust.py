"""`flag_trust`: one row per flag and iteration, blocked by nothing, read from SQL, Python and a page."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.audit.trust_table import TrustEntry, mark_discoveries, read_trust, write_trust
from exd_dagster.config import FlagAudit, FlagId, Phase
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.decisions.asset import record_decision
from exd_dagster.definitions.flag_trust import INLINE, attention, discoveries, trust
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import StoreError
from tests.fleet import Fleet, built
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 6
TRUST = dg.AssetSelection.assets("flag_trust")


def waive(instance: dg.DagsterInstance, flag: str) -> None:
    now = datetime.now(timezone.utc)
    until = now + timedelta(days=1)
    record_decision(
        instance, Decision(kind="waive", flags=flag, reason="known", by="ana", until=until, made_at=now)
    )


class TestAfterAnAudit:
    """One flag of each standing; `torn` has records in two environments and cannot be built."""

    @pytest.fixture(scope="class")
    def fleet(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
        folder = tmp_path_factory.mktemp("fleet")
        fleet = Fleet(
            folder, {"good": healthy(HOURS), "bad": broken(HOURS), "known": broken(HOURS), "torn": healthy(3)}
        )
        with dg.DagsterInstance.ephemeral() as instance:
            waive(instance, "known")
            assert not fleet.run(instance, fleet.bins).success
            write(folder / "log", rows("torn", healthy(1), environment="staging"), name="staging")
            fleet.run(instance, dg.AssetSelection.assets(fleet.keys["torn"]))
            fleet.refreshed = fleet.run(instance, TRUST, hours=False)  # type: ignore[attr-defined]
            yield fleet

    def test_no_failure_blocks_it(self, fleet: Fleet) -> None:
        assert built(fleet.refreshed) == {"flag_trust"}  # type: ignore[attr-defined]

    def test_each_flag_has_its_standing(self, fleet: Fleet) -> None:
        store = fleet.folder / "bins.duckdb"
        assert {key: trust(key, store).standing for key in fleet.keys} == {
            "good": "trusted",
            "bad": "not-trusted",
            "known": "waived",
            "torn": "not-checked",
        }

    def test_a_flag_whose_audit_gave_no_answer_says_why(self, fleet: Fleet) -> None:
        said = trust("torn", fleet.folder / "bins.duckdb").sentence
        assert said.startswith("Not checked:")
        assert "staging" in said

    def test_what_was_known_before_an_unanswered_audit_stays(self, fleet: Fleet) -> None:
        assert trust("torn", fleet.folder / "bins.duckdb").audited_through == START + HOURS * HOUR

    def test_sql_reads_only_what_may_be_used(self, fleet: Fleet) -> None:
        with duckdb.connect(str(fleet.folder / "bins.duckdb"), read_only=True) as connection:
            found = connection.execute("SELECT flag_key FROM flag_trust WHERE trusted ORDER BY 1").fetchall()
        assert found == [("good",), ("known",)]

    def test_the_page_lies_beside_the_store_and_shows_every_flag(self, fleet: Fleet) -> None:
        page = (fleet.folder / "flag_trust.html").read_text()
        assert all(f'id="{key}"' in page for key in fleet.keys)

    def test_the_page_names_the_run_where_no_address_of_the_ui_is_known(self, fleet: Fleet) -> None:
        page = (fleet.folder / "flag_trust.html").read_text()
        with duckdb.connect(str(fleet.folder / "bins.duckdb"), read_only=True) as connection:
            entries = read_trust(connection)
        assert [entry.run_id for entry in entries if f"<dd>{entry.run_id}</dd>" not in page] == []

    def test_the_asset_counts_and_lists_them(self, fleet: Fleet) -> None:
        (event,) = fleet.refreshed.get_asset_materialization_events()  # type: ignore[attr-defined]
        metadata = event.step_materialization_data.materialization.metadata
        assert (metadata["trusted"].value, metadata["not_trusted"].value) == (2, 1)
        assert [record.data["flag"] for record in metadata["flags"].records][:2] == ["bad", "torn"]

    def test_the_asset_says_in_place_what_is_wrong_with_each(self, fleet: Fleet) -> None:
        (event,) = fleet.refreshed.get_asset_materialization_events()  # type: ignore[attr-defined]
        said = event.step_materialization_data.materialization.metadata["attention"].value
        bad, torn, known = said.splitlines()
        link = "[{0}](/assets/experiments/{0}_bins?view=checks)".format
        assert bad.startswith(f"- **{link('bad')}** Not trusted. SRM: treatment got 2.44 %")
        assert torn.startswith(f"- **{link('torn')}** Not checked: ")
        assert known.startswith(f"- **{link('known')}** Waived by ana until")

    def test_a_mistyped_flag_gets_the_nearest_name(self, fleet: Fleet) -> None:
        with pytest.raises(StoreError, match=r"flag 'god' has no audit in .*Did you mean 'good'"):
            trust("god", fleet.folder / "bins.duckdb")


@pytest.mark.parametrize("urgent", [0, 1, 9, 500])
def test_what_needs_attention_stays_in_place_however_large_the_fleet(urgent: int) -> None:
    rows = [
        TrustRow(
            flag=FlagId("", "", f"flag-{i}"), iteration_start=START, trusted=i >= urgent, sentence="Why."
        )
        for i in range(500)
    ]
    said = attention(rows)
    named = said.count("**flag")
    rest = re.search(r"and (\d+) more", said)
    assert named + int(rest[1] if rest else 0) == urgent
    assert len(said) < INLINE


def test_before_the_first_audit_it_is_empty_and_succeeds(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(2)})
    assert built(fleet.run(instance, TRUST, hours=False)) == {"flag_trust"}
    with pytest.raises(StoreError, match="flag 'good' has no audit"):
        trust("good", tmp_path / "bins.duckdb")


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent\.duckdb does not exist; correct the path"):
        trust("good", tmp_path / "absent.duckdb")


def test_a_rerandomised_phase_adds_a_row_and_trust_reads_the_newest(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """The first iteration was broken; units were assigned afresh after four hours."""
    again = START + 4 * HOUR
    half = {"control": 0.5, "treatment": 0.5}
    late = rows("checkout", healthy(4), start=again)
    late["unit_id_hash"] = "again-" + late["unit_id_hash"]
    log = write(tmp_path / "log", rows("checkout", broken(4)))
    flag = FlagAudit(
        key="checkout",
        split=half,
        start=START,
        end=START + 8 * HOUR,
        phases=[Phase(start=again, split=half, rerandomized=True)],
    )
    store = tmp_path / "bins.duckdb"
    defs = build_flag_audit_defs([flag], records=log, store=DuckDBResource(database=str(store)))
    job = defs.resolve_job_def("exd_audit")
    for hours in (("2026-03-01-00:00", "2026-03-01-03:00"), ("2026-03-01-04:00", "2026-03-01-07:00")):
        job.execute_in_process(instance=instance, tags=range_tags(*hours), raise_on_error=False)
        write(tmp_path / "log", late, rows("beat", healthy(1), start=START + 10 * HOUR), name="late")
    with duckdb.connect(str(store), read_only=True) as connection:
        found = [(entry.row.iteration_start, entry.row.trusted) for entry in read_trust(connection)]
    assert found == [(START, False), (again, True)]
    assert trust("checkout", store).trusted


def test_flags_of_one_key_are_reported_apart_by_environment(tmp_path: Path) -> None:
    store = tmp_path / "bins.duckdb"
    with duckdb.connect(str(store)) as connection:
        for environment in ("production", "staging"):
            flag = FlagId("shop", environment, "checkout")
            row = TrustRow(flag=flag, iteration_start=START, trusted=environment == "staging", sentence="")
            write_trust(connection, TrustEntry(row))
    with pytest.raises(StoreError, match=r"ambiguous in .*shop/production/checkout, shop/staging/checkout"):
        trust("checkout", store)
    assert trust("checkout", store, environment="staging").trusted


class TestDiscovery:
    """e-BH over the newest iteration of every flag."""

    def entry(self, key: str, log_e_value: float | None, hours: int = 0) -> TrustEntry:
        row = TrustRow(
            flag=FlagId("", "", key), iteration_start=START + hours * HOUR, trusted=True, sentence=""
        )
        return TrustEntry(row, "", log_e_value)

    def found(self, *entries: TrustEntry) -> list[tuple[str, datetime]]:
        with duckdb.connect() as connection:
            for entry in entries:
                write_trust(connection, entry)
            rows = read_trust(connection)
            mark_discoveries(connection, [entry.row for entry in rows], discoveries(rows))
            marked = [entry.row for entry in read_trust(connection) if entry.row.discovery]
        return [(row.flag.key, row.iteration_start) for row in marked]

    def test_strong_evidence_is_a_discovery_and_weak_is_not(self) -> None:
        assert self.found(self.entry("strong", 8.0), self.entry("weak", 1.0)) == [("strong", START)]

    def test_evidence_that_suffices_alone_does_not_among_many(self) -> None:
        """Evidence of 20 to 1 is enough for one flag; among ten flags 200 to 1 is needed."""
        crowd = [self.entry(f"quiet-{i}", 0.0) for i in range(9)]
        assert self.found(self.entry("one", 4.0)) == [("one", START)]
        assert self.found(self.entry("one", 4.0), *crowd) == []

    def test_an_iteration_that_is_over_is_no_discovery(self) -> None:
        assert self.found(self.entry("a", 9.0), self.entry("a", 0.0, hours=5)) == []

    def test_only_the_newest_iteration_is_marked(self) -> None:
        assert self.found(self.entry("a", 9.0), self.entry("a", 9.0, hours=5)) == [("a", START + 5 * HOUR)]


def test_since_stays_while_the_standing_does(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(HOURS)})
    fleet.run(instance, fleet.bins)
    before = trust("good", tmp_path / "bins.duckdb").since
    more: pd.DataFrame = rows("beat", healthy(1), start=START + (HOURS + 9) * HOUR)
    write(tmp_path / "log", more, name="more")
    fleet.run(instance, fleet.bins)
    assert trust("good", tmp_path / "bins.duckdb").since == before
