"""Two fleets in one code location: audited, reported, decided and trusted apart, in one store or in two."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.cli import main
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting import sensor as sensors
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import deliveries, load_states, run_alert_sensor
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.decisions.asset import load_decisions
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.fleet import plan as audit_plan
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.fleet.plan import audit_plans
from exd_dagster.definitions.gate import blocked_by
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ConfigError
from tests.fleet import built
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 4
ALL_HOURS = range_tags(f"{START:%Y-%m-%d-%H:%M}", f"{START + (HOURS - 1) * HOUR:%Y-%m-%d-%H:%M}")
LOGGED = {
    "exd": {"checkout": broken(HOURS), "cart": healthy(HOURS)},
    "search": {"ranking": healthy(HOURS), "suggest": broken(HOURS)},
}
SPLIT = {"control": 0.5, "treatment": 0.5}


@dataclass
class Project:
    """A project with two fleets over one log, a guarded report behind each flag, and its instance."""

    folder: Path
    instance: dg.DagsterInstance
    stores: dict[str, Path]
    reported: dict[str, list[Notification]] = field(default_factory=lambda: {"exd": [], "search": []})

    def __post_init__(self) -> None:
        heartbeat = rows("heartbeat", healthy(1), start=START + (HOURS + 2) * HOUR)
        counted = {key: hours for flags in LOGGED.values() for key, hours in flags.items()}
        write(self.folder / "log", *(rows(key, hours) for key, hours in counted.items()), heartbeat)
        self.defs = dg.Definitions.merge(*(self._fleet(name) for name in LOGGED))

    def _fleet(self, name: str) -> dg.Definitions:
        end = START + HOURS * HOUR
        flags = [FlagAudit(key=key, split=SPLIT, start=START, end=end) for key in LOGGED[name]]
        audit = build_flag_audit_defs(
            flags,
            records=str(self.folder / "log" / "*.parquet"),
            store=DuckDBResource(database=str(self.stores[name])),
            alerts=[CallbackAlerts(self.reported[name].append)],
            name=name,
        )
        reports = [self._report(flag.key, bins_asset_keys(flags)[flag.id]) for flag in flags]
        return dg.Definitions.merge(audit, dg.Definitions(assets=reports))

    def _report(self, key: str, bins: dg.AssetKey) -> dg.AssetsDefinition:
        @dg.asset(name=f"{key}_report", deps=[bins])
        @blocked_by(bins)
        def report() -> None: ...

        return report

    def run(self, job: str, **options: object) -> dg.ExecuteInProcessResult:
        """Run a job of the project."""
        found = self.defs.resolve_job_def(job)
        return found.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def audit(self) -> None:
        """Audit both fleets, tell twice, refresh both tables."""
        for name in LOGGED:
            self.run(f"{name}_audit", tags=ALL_HOURS)
            self.run(FleetNames(name).trust_job)
            for _ in range(2):
                run_alert_sensor(self.sensor(f"{name}_check_alerts"), self.instance, self.defs)

    def sensor(self, name: str) -> dg.SensorDefinition:
        """Return a sensor of the project."""
        return self.defs.get_repository_def().get_sensor_def(name)

    def decide(self, job: str, asset: str) -> None:
        """Waive every failure of a fleet, as from the launchpad."""
        until = datetime.now(timezone.utc) + timedelta(days=1)
        config = {"kind": "waive", "flags": "*", "reason": "known", "by": "ana", "until": until.isoformat()}
        self.run(job, run_config={"ops": {asset: {"config": config}}})

    def asked(self, fleet: str) -> set[str]:
        """Return the flags whose checks the decision sensor of a fleet asks for."""
        sensor = self.sensor(f"{fleet}_decision_checks")
        context = dg.build_sensor_context(instance=self.instance, sensor_name=sensor.name)
        requests = sensor.evaluate_tick(context).run_requests or []
        keys = [key for request in requests for key in request.asset_check_keys or ()]
        return {key.asset_key.path[-1] for key in keys}

    def reports(self) -> set[str]:
        """Build every report by hand; return those that ran."""
        selection = dg.AssetSelection.assets(*(f"{key}_report" for flags in LOGGED.values() for key in flags))
        job = dg.define_asset_job("reports", selection, executor_def=dg.in_process_executor)
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        ran = defs.resolve_job_def("reports").execute_in_process(instance=self.instance, raise_on_error=False)
        return built(ran)


@pytest.fixture(scope="module", params=["stores of their own", "one store"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("two_fleets")
    apart = request.param != "one store"
    stores = {name: folder / (f"{name}.duckdb" if apart else "bins.duckdb") for name in LOGGED}
    with dg.DagsterInstance.ephemeral() as instance:
        made = Project(folder, instance, stores)
        made.audit()
        yield made


def test_each_fleet_tells_of_its_own_failing_flag_once(project: Project) -> None:
    fired = {
        name: [notification.alerts[0].flag.key for notification in reported if notification.reason == "fire"]
        for name, reported in project.reported.items()
    }
    assert fired == {"exd": ["checkout"] * 2, "search": ["suggest"] * 2}  # one payload for each failing check
    assert len({reported.id for notes in project.reported.values() for reported in notes}) == 4


def test_each_alert_sensor_keeps_a_state_of_its_own(project: Project) -> None:
    states = load_states(project.instance)
    assert {name: list(state.incidents) for name, state in states.items()} == {
        "exd_check_alerts": ["checkout"],
        "search_check_alerts": ["suggest"],
    }
    assert {row.flag.key for row in deliveries(project.instance)} == {"checkout", "suggest"}


def test_flag_trust_of_each_fleet_holds_its_own_flags(project: Project) -> None:
    standing = {
        key: trust(key, project.stores[name]).trusted for name, flags in LOGGED.items() for key in flags
    }
    assert standing == {"checkout": False, "cart": True, "ranking": True, "suggest": False}


def test_a_refresh_of_one_fleet_leaves_the_discoveries_of_the_other(project: Project) -> None:
    project.run("search_flag_trust_job")
    found = {
        name: trust(key, project.stores[name]) for name, key in (("exd", "checkout"), ("search", "suggest"))
    }
    assert {name: row.discovery for name, row in found.items()} == {"exd": True, "search": True}


def test_each_fleet_has_a_page_of_its_own(project: Project) -> None:
    pages = {name: project.folder / FleetNames(name).trust_page for name in LOGGED}
    shown = {
        name: {key for key in ("checkout", "cart", "ranking", "suggest") if key in page.read_text()}
        for name, page in pages.items()
    }
    assert shown == {"exd": {"checkout", "cart"}, "search": {"ranking", "suggest"}}


def test_a_decision_in_one_fleet_says_nothing_of_the_other(project: Project) -> None:
    """It unblocks the report of its own flag alone, and asks for its own checks alone."""
    assert project.reports() == {"cart_report", "ranking_report"}
    project.decide("search_flag_decision", "search_flag_decisions")
    assert (project.asked("exd"), project.asked("search")) == (set(), {"ranking_bins", "suggest_bins"})
    project.run("exd_decision_checks")
    project.run("search_decision_checks")
    assert project.reports() == {"cart_report", "ranking_report", "suggest_report"}


def build(name: str, flag: str, store: str = "", **options: object) -> dg.Definitions:
    return build_flag_audit_defs(
        [FlagAudit(key=flag, split=SPLIT, start="2026-03-01")],
        records="log/*.parquet",
        store=DuckDBResource(database=store or f"{name}.duckdb"),
        name=name,
        **options,
    )


def asset_keys(defs: dg.Definitions) -> set[str]:
    dg.Definitions.validate_loadable(defs)
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


def test_the_default_fleet_has_plain_names() -> None:
    assert asset_keys(build("exd", "checkout")) == {
        "flag_evaluations",
        "experiments/checkout_bins",
        "flag_trust",
        "incident_ledger",
        "flag_decisions",
        "alerting",
    }
    assert FleetNames().store == "exd_store"


def test_another_fleet_calls_after_itself_all_that_each_fleet_has_one_of() -> None:
    defs = build("search", "ranking")
    assert asset_keys(defs) == {
        "search_flag_evaluations",
        "experiments/ranking_bins",
        "search_flag_trust",
        "search_incident_ledger",
        "search_flag_decisions",
        "search_alerting",
    }
    repository = defs.get_repository_def()
    named = {*repository.job_names, *(s.name for s in (*repository.schedule_defs, *repository.sensor_defs))}
    assert {name for name in named if not name.startswith("search_")} == {"__ASSET_JOB"}
    assert set(repository.get_top_level_resources()) == {"search_store"}


@pytest.mark.parametrize(("name", "fix"), [("my-search", "write my_search"), ("", "write exd")])
def test_a_name_that_dagster_does_not_allow_is_reported_with_one_that_it_does(name: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        build(name, "ranking")


def test_flags_whose_keys_read_alike_in_one_line_load_together() -> None:
    """Flag b of namespace a and flag a_b; flag checkout under experiments/search and flag search_checkout."""
    flags = [FlagAudit(key="b", namespace="a", start="2026-03-01"), FlagAudit(key="a_b", start="2026-03-01")]
    store = DuckDBResource(database="bins.duckdb")
    one = build_flag_audit_defs(flags, "log/*.parquet", store)
    assert {"experiments/a/b_bins", "experiments/a_b_bins"} <= asset_keys(one)
    fleets = [
        build("exd", "search_checkout"),
        build("search", "checkout", key_prefix=["experiments", "search"]),
    ]
    both = asset_keys(dg.Definitions.merge(*fleets))
    assert {"experiments/search_checkout_bins", "experiments/search/checkout_bins"} <= both


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fleet was built before in this process."""
    monkeypatch.setattr(audit_plan, "_PLANS", {})
    monkeypatch.setattr(sensors, "_PLANS", {})


@pytest.mark.usefixtures("forgotten")
class TestClash:
    """The same flag under the same key in two fleets cannot be loaded; each place says the way out."""

    def test_python_is_warned_of_it_before_dagster_refuses(self) -> None:
        build("exd", "checkout")
        with pytest.warns(
            UserWarning,
            match=r"'exd' and 'search' both build experiments/checkout_bins; .*"
            r"key_prefix of its own: \[experiments, search\]",
        ):
            build("search", "checkout")

    def test_a_key_prefix_of_its_own_lets_both_load(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            first = build("exd", "checkout")
            second = build("search", "checkout", key_prefix=["experiments", "search"])
        both = asset_keys(dg.Definitions.merge(first, second))
        assert {"experiments/checkout_bins", "experiments/search/checkout_bins"} <= both

    def test_under_keys_of_their_own_they_need_stores_of_their_own(self) -> None:
        """Or each would count the flag anew, and write its row of flag_trust over the other's."""
        build("exd", "checkout", store="bins.duckdb")
        prefix = ["experiments", "search"]
        with pytest.warns(UserWarning, match=r"both count checkout in bins.duckdb; .* a store of its own"):
            build("search", "checkout", store="bins.duckdb", key_prefix=prefix)

    def test_a_fleet_built_again_is_no_clash(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            build("exd", "checkout")
            build("exd", "checkout")
        assert len(audit_plans()) == 1


PROJECT = """
import dagster as dg
import exd_dagster as exd
from dagster_duckdb import DuckDBResource

def fleet(name, *keys, **options):
    split = {"control": 0.5, "treatment": 0.5}
    flags = [exd.FlagAudit(key=key, split=split, start="2026-03-01") for key in keys]
    store = DuckDBResource(database=f"{name}.duckdb")
    return exd.build_flag_audit_defs(flags, "log/*.parquet", store, name=name, **options)

defs = dg.Definitions.merge(
    fleet("exd", "checkout", "shared"),
    fleet("search", "ranking", "shared", key_prefix=["experiments", "search"]),
)
"""


class TestCommandLine:
    """The commands find the fleet that a flag belongs to, or are reported which."""

    @pytest.fixture
    def home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None
    ) -> Iterator[dg.DagsterInstance]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        (tmp_path / "two.py").write_text(PROJECT)
        counts = healthy(60, 30)
        write(tmp_path / "log", *(rows(key, counts) for key in ("checkout", "ranking", "shared")))
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
            yield instance

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "-f", "two.py"])

    def decide(self, flags: str, *more: str) -> Result:
        whole = ("--flag", flags, "--reason", "known", "--by", "ana", "--until", "2199-01-01")
        return self.run("decide", "silence", *whole, *more)

    def test_decide_records_where_the_flag_is_audited(self, home: dg.DagsterInstance) -> None:
        assert "for ranking:" in self.decide("ranking").output
        assert [len(load_decisions(home, fleet)) for fleet in LOGGED] == [0, 1]

    def test_decide_records_in_every_fleet_that_a_glob_touches_or_in_the_one_named(
        self, home: dg.DagsterInstance
    ) -> None:
        self.decide("shared")
        self.decide("*", "--fleet", "exd")
        assert [len(load_decisions(home, fleet)) for fleet in LOGGED] == [2, 1]

    def test_an_unknown_fleet_is_answered_with_the_nearest(self, home: dg.DagsterInstance) -> None:
        said = self.decide("ranking", "--fleet", "serach")
        assert (said.exit_code, "Did you mean 'search'?" in said.output) == (2, True)

    def test_a_drill_of_a_flag_of_two_fleets_asks_for_one(self, home: dg.DagsterInstance) -> None:
        drill = ("drill", "--flag", "shared", "--fault", "dead_arm")
        said = self.run(*drill)
        assert "is audited by the fleets exd, search; name one with --fleet" in said.output
        assert self.run(*drill, "--fleet", "search").exit_code == 0

    def test_the_doctor_looks_at_both(self, home: dg.DagsterInstance) -> None:
        said = self.run("doctor").output
        for part in ("exd, search: 4 flags", "exd.duckdb", "search.duckdb", "running: search_nightly_audit"):
            assert part in said

    def test_the_doctor_tells_of_a_clash(self, home: dg.DagsterInstance) -> None:
        Path("two.py").write_text(PROJECT.replace(', key_prefix=["experiments", "search"]', ""))
        with pytest.warns(UserWarning, match="both build experiments/shared_bins"):
            said = self.run("doctor").output
        assert "the fleets 'exd' and 'search' both build experiments/shared_bins" in said
