"""`protect` on reports of every make, in every way they can run."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, ClassVar

import dagster as dg
import pytest

import exd_dagster as exd
from exd_dagster.errors import ConfigError
from tests.definitions.protection.project import ALL_AUDITED, BINS, DAYS, Told, built, refusal


@pytest.fixture
def told(instance: dg.DagsterInstance) -> Told:
    return Told(instance)


def plain() -> dg.AssetsDefinition:
    @dg.asset
    def report() -> None: ...

    return report


def with_context_and_config() -> dg.AssetsDefinition:
    class Config(dg.Config):
        rows: int = 3

    @dg.asset
    def report(context: dg.AssetExecutionContext, config: Config) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"rows": config.rows, "key": context.asset_key.to_user_string()})

    return report


def that_loads_another() -> dg.AssetsDefinition:
    @dg.asset(ins={"orders": dg.AssetIn("orders")})
    def report(orders: int) -> int:
        return orders + 1

    return report


def generator() -> dg.AssetsDefinition:
    @dg.multi_asset(specs=[dg.AssetSpec("report")])
    def made() -> Iterator[Any]:
        yield dg.MaterializeResult(asset_key="report")

    return made


def coroutine() -> dg.AssetsDefinition:
    @dg.asset
    async def report() -> None: ...

    return report


def async_generator() -> dg.AssetsDefinition:
    @dg.multi_asset(specs=[dg.AssetSpec("report")])
    async def made() -> AsyncIterator[Any]:
        yield dg.MaterializeResult(asset_key="report")

    return made


def graph() -> dg.AssetsDefinition:
    @dg.op
    def first() -> int:
        return 1

    @dg.op
    def second(context: dg.OpExecutionContext, one: int) -> int:
        return one + 1

    @dg.graph
    def inner() -> Any:
        return second(first())

    @dg.graph_asset
    def report() -> Any:
        return second.alias("third")(second(inner()))

    return report


def without_a_decorator() -> dg.AssetsDefinition:
    def compute(context: dg.OpExecutionContext, inputs: Any) -> Iterator[Any]:
        yield dg.Output(None, "result")

    op = dg.OpDefinition(compute_fn=compute, name="made", outs={"result": dg.Out()})
    return dg.AssetsDefinition.from_op(op, keys_by_output_name={"result": dg.AssetKey("report")})


@dg.asset
def orders() -> int:
    return 41


MAKES: list[Callable[[], dg.AssetsDefinition]] = [
    plain,
    with_context_and_config,
    that_loads_another,
    generator,
    coroutine,
    async_generator,
    graph,
    without_a_decorator,
]


@pytest.fixture(params=MAKES, ids=lambda make: make.__name__)
def defs(request: pytest.FixtureRequest, told: Told) -> dg.Definitions:
    """A report of one make behind the flag `checkout`, and an asset it may read."""
    made = told.protected(orders, request.param(), by={"report": ["checkout"]})
    told.build(made, "orders")
    return made


def test_a_trusted_flag_lets_it_run(told: Told, defs: dg.Definitions) -> None:
    told.judge(defs)
    result = told.build(defs, "report")
    assert result.success
    assert built(result) == {"report"}


def test_a_flag_that_is_not_trusted_does_not_and_no_op_of_it_runs(told: Told, defs: dg.Definitions) -> None:
    told.failing["checkout"] = {}
    told.judge(defs)
    result = told.build(defs, "report")
    assert refusal(result) == "Blocked by the flag audit. experiments/checkout_bins: checkout is broken."
    assert not [event for event in result.all_events if event.is_step_success]


def test_another_flag_does_not_block_it(told: Told, defs: dg.Definitions) -> None:
    told.failing["search"] = {}
    told.judge(defs)
    assert built(told.build(defs, "report")) == {"report"}


def test_in_the_run_of_the_audit_it_waits_for_the_answer(told: Told, defs: dg.Definitions) -> None:
    """The last answer was good; this run's is not."""
    told.judge(defs)
    told.failing["checkout"] = {}
    wanted = dg.AssetSelection.assets(BINS["checkout"], "report")
    assert built(told.run(defs, wanted, ALL_AUDITED)) == {"experiments/checkout_bins"}


def test_a_schedule_that_names_the_report_itself_runs_the_protected_one(told: Told) -> None:
    report = plain()
    schedule = dg.ScheduleDefinition(
        name="daily", target=dg.AssetSelection.assets(report), cron_schedule="@daily"
    )
    whole = dg.Definitions.merge(told.audit(), dg.Definitions(assets=[report], schedules=[schedule]))
    defs = exd.protect(whole, {"report": ["checkout"]})
    job = defs.resolve_job_def(schedule.job_name)
    assert "never ran" in refusal(job.execute_in_process(instance=told.instance, raise_on_error=False))


class TestAutomation:
    """The condition a report came with goes on as it was, and waits until its flags are trusted."""

    @pytest.fixture
    def defs(self, told: Told) -> dg.Definitions:
        @dg.asset(deps=["orders"], automation_condition=dg.AutomationCondition.eager())
        def report() -> None: ...

        return told.protected(orders, report, by={"report": ["checkout"]})

    def asked(self, told: Told, defs: dg.Definitions) -> list[int]:
        """How often the report is asked for: at first, after `orders` were built, and once more."""
        counts, cursor = [], None
        for step in range(3):
            if step == 1:
                told.build(defs, "orders")
            outcome = dg.evaluate_automation_conditions(defs, told.instance, cursor=cursor)
            cursor = outcome.cursor
            counts.append(outcome.get_num_requested(dg.AssetKey("report")))
        return counts

    def test_of_a_trusted_flag(self, told: Told, defs: dg.Definitions) -> None:
        told.judge(defs)
        assert self.asked(told, defs) == [0, 1, 0]

    def test_of_a_flag_that_is_not(self, told: Told, defs: dg.Definitions) -> None:
        told.failing["checkout"] = {}
        told.judge(defs)
        assert self.asked(told, defs) == [0, 0, 0]

    def test_bins_that_were_updated_do_not_ask_for_a_report_that_did_not_build_on_them(
        self, told: Told, defs: dg.Definitions
    ) -> None:
        told.build(defs, "orders", "report")
        told.judge(defs)
        first = dg.evaluate_automation_conditions(defs, told.instance)
        told.judge(defs)
        after = dg.evaluate_automation_conditions(defs, told.instance, cursor=first.cursor)
        assert after.total_requested == 0

    def test_a_report_without_one_gets_none(self, told: Told) -> None:
        defs = told.protected(plain(), by={"report": ["checkout"]})
        (spec,) = [s for s in defs.resolve_all_asset_specs() if s.key == dg.AssetKey("report")]
        assert spec.automation_condition is None


class TestSeveralAssetsInOneStep:
    """A step like that of dbt, sling or dlt: several assets, any subset of them."""

    @staticmethod
    def project(*, can_subset: bool = True, takes_context: bool = True) -> dg.AssetsDefinition:
        specs = [
            dg.AssetSpec("staging", skippable=can_subset),
            dg.AssetSpec("conversion", deps=["staging"], skippable=can_subset),
            dg.AssetSpec("weekly", deps=["conversion"], skippable=can_subset),
            dg.AssetSpec("revenue", deps=["staging"], skippable=can_subset),
        ]
        check = dg.AssetCheckSpec("not_null", asset="conversion")

        def results(keys: Any, checks: Any) -> Iterator[Any]:
            for spec in specs:
                if spec.key in keys:
                    yield dg.MaterializeResult(asset_key=spec.key)
            for key in checks:
                yield dg.AssetCheckResult(asset_key=key.asset_key, check_name=key.name, passed=True)

        if not takes_context:

            @dg.multi_asset(specs=specs, can_subset=can_subset)
            def project() -> Iterator[Any]:
                yield from results({spec.key for spec in specs}, ())

            return project

        @dg.multi_asset(specs=specs, check_specs=[check], can_subset=can_subset)
        def project(context: dg.AssetExecutionContext) -> Iterator[Any]:
            names = context.op_execution_context.selected_output_names
            keys = {
                context.assets_def.keys_by_output_name[n]
                for n in names
                if n in context.assets_def.keys_by_output_name
            }
            assert keys == context.selected_asset_keys
            assert context.is_subset or len(keys) == len(specs)
            yield from results(keys, context.selected_asset_check_keys)

        return project

    def test_what_is_blocked_is_left_out_with_what_builds_on_it_and_the_rest_is_built(
        self, told: Told
    ) -> None:
        defs = told.protected(self.project(), by={"conversion": ["checkout"]})
        told.failing["checkout"] = {}
        told.judge(defs)
        result = told.run(defs, dg.AssetSelection.assets("staging", "conversion", "weekly", "revenue"))
        assert result.success
        assert built(result) == {"staging", "revenue"}

    def test_the_page_of_what_was_left_out_gives_the_reason(self, told: Told) -> None:
        defs = told.protected(
            self.project(), by={"conversion": ["checkout"]}, base_url="https://dagster.example"
        )
        told.failing["checkout"] = {}
        told.judge(defs)
        told.build(defs, "staging", "conversion", "weekly")
        seen = {
            key: told.instance.fetch_observations(dg.AssetKey(key), limit=1).records[0].asset_observation
            for key in ("conversion", "weekly")
        }
        assert "checkout is broken." in str(seen["conversion"].description)
        assert "experiments/checkout_bins" in seen["conversion"].metadata
        assert seen["weekly"].description == "It builds on what is blocked in the same step: conversion."

    def test_alone_it_fails(self, told: Told) -> None:
        defs = told.protected(self.project(), by={"conversion": ["checkout"], "revenue": ["search"]})
        told.failing["checkout"] = {}
        told.judge(defs)
        assert "checkout is broken." in refusal(told.build(defs, "conversion", "weekly"))
        assert built(told.build(defs, "revenue")) == {"revenue"}

    def test_trusted_everything_is_built(self, told: Told) -> None:
        defs = told.protected(self.project(), by={"conversion": ["checkout"]})
        told.judge(defs)
        result = told.build(defs, "staging", "conversion", "weekly", "revenue")
        assert built(result) == {"staging", "conversion", "weekly", "revenue"}

    @pytest.mark.parametrize("options", [{"can_subset": False}, {"takes_context": False}], ids=str)
    def test_a_step_that_builds_all_or_nothing_builds_nothing(
        self, told: Told, options: dict[str, bool]
    ) -> None:
        defs = told.protected(self.project(**options), by={"conversion": ["checkout"]})
        told.failing["checkout"] = {}
        told.judge(defs)
        result = told.run(defs, dg.AssetSelection.assets("staging", "conversion", "weekly", "revenue"))
        assert not result.success
        assert built(result) == set()
        assert "checkout is broken." in refusal(result)

    def test_a_graph_that_uses_the_same_ops_stays_as_it_is(self, told: Told) -> None:
        @dg.op
        def shared() -> int:
            return 1

        @dg.graph_asset
        def mine() -> Any:
            return shared()

        @dg.graph_asset
        def report() -> Any:
            return shared()

        defs = told.protected(mine, report, by={"report": ["checkout"]})
        assert built(told.build(defs, "mine", "report")) == {"mine"}

    def test_a_graph_of_several_fails_only_where_the_blocked_one_is_made(self, told: Told) -> None:
        @dg.op
        def load() -> int:
            return 1

        @dg.op
        def finish(rows: int) -> int:
            return rows

        @dg.graph_multi_asset(outs={"one": dg.AssetOut(), "two": dg.AssetOut()})
        def both() -> Any:
            rows = load()
            return {"one": finish.alias("one_made")(rows), "two": finish.alias("two_made")(rows)}

        defs = told.protected(both, by={"one": ["checkout"]})
        told.failing["checkout"] = {}
        told.judge(defs)
        assert built(told.build(defs, "one", "two")) == {"two"}


class TestWhatIsRefused:
    """Every fault at once, with the nearest name."""

    def faults(self, told: Told, *assets: Any, by: Any, **options: Any) -> str:
        with pytest.raises(ConfigError) as error:
            told.protected(plain(), *assets, by=by, **options)
        return str(error.value)

    def test_an_unknown_report_and_an_unknown_flag(self, told: Told) -> None:
        said = self.faults(told, by={"reprot": ["checkout"], "report": ["chekcout"]})
        assert "reprot: is no asset of these definitions. Did you mean 'report'?" in said
        assert "report: 'chekcout' is no audited flag. Did you mean 'checkout'?" in said

    def test_a_report_that_dagster_does_not_build(self, told: Told) -> None:
        said = self.faults(told, dg.AssetSpec("cloud"), by={"cloud": ["checkout"]})
        assert "cloud: is not built by Dagster, so nothing can stop it; protect what reads it" in said

    def test_flags_that_are_no_list(self, told: Told) -> None:
        assert "give the flags it builds on as a list, not 'checkout'" in self.faults(
            told, by={"report": "checkout"}
        )

    def test_an_unknown_until(self, told: Told) -> None:
        assert "until: 'usabel' is not known; write trusted or usable" in self.faults(
            told, by={"report": ["checkout"]}, until="usabel"
        )

    def test_definitions_without_an_audit(self) -> None:
        with pytest.raises(ConfigError, match="audits no flag; merge it with build_flag_audit_defs"):
            exd.protect(dg.Definitions(assets=[plain()]), {"report": ["checkout"]})


def test_a_glob_names_every_flag_it_matches(told: Told) -> None:
    defs = told.protected(plain(), by={"report": ["*"]})
    told.failing["search"] = {}
    told.judge(defs)
    assert "search is broken." in refusal(told.build(defs, "report"))


class TestUntilUsable:
    """Partitions that end before the fault may be built, later ones not."""

    FAULT: ClassVar = {"usable_until": "2026-03-03T14:00:00Z"}

    @staticmethod
    def daily(policy: dg.BackfillPolicy) -> dg.AssetsDefinition:
        @dg.asset(partitions_def=DAYS, backfill_policy=policy)
        def report() -> None: ...

        return report

    def day(self, told: Told, defs: dg.Definitions, day: str) -> dg.ExecuteInProcessResult:
        return told.build(defs, "report", tags={"dagster/partition": day})

    @pytest.fixture
    def defs(self, told: Told) -> dg.Definitions:
        made = told.protected(
            self.daily(dg.BackfillPolicy.multi_run()), by={"report": ["checkout"]}, until="usable"
        )
        told.failing["checkout"] = dict(self.FAULT)
        told.judge(made)
        return made

    @pytest.mark.parametrize("day", ["2026-03-01", "2026-03-02"])
    def test_a_day_before_the_fault_is_built(self, told: Told, defs: dg.Definitions, day: str) -> None:
        assert built(self.day(told, defs, day)) == {"report"}

    @pytest.mark.parametrize("day", ["2026-03-03", "2026-03-04"])
    def test_the_day_of_the_fault_and_later_ones_are_not(
        self, told: Told, defs: dg.Definitions, day: str
    ) -> None:
        assert refusal(self.day(told, defs, day)).endswith(
            "Partitions that end before the fault may be built."
        )

    @pytest.mark.parametrize(("last", "wanted"), [("2026-03-02", {"report"}), ("2026-03-03", set())])
    def test_a_backfill_in_one_run_is_built_as_a_whole_or_not(
        self, told: Told, last: str, wanted: set[str]
    ) -> None:
        defs = told.protected(
            self.daily(dg.BackfillPolicy.single_run()), by={"report": ["checkout"]}, until="usable"
        )
        told.failing["checkout"] = dict(self.FAULT)
        told.judge(defs)
        tags = {
            "dagster/asset_partition_range_start": "2026-03-01",
            "dagster/asset_partition_range_end": last,
        }
        assert built(told.build(defs, "report", tags=tags)) == wanted

    def test_without_it_every_day_is_blocked(self, told: Told) -> None:
        defs = told.protected(self.daily(dg.BackfillPolicy.multi_run()), by={"report": ["checkout"]})
        told.failing["checkout"] = dict(self.FAULT)
        told.judge(defs)
        assert built(self.day(told, defs, "2026-03-02")) == set()

    def test_a_report_without_partitions_is_blocked(self, told: Told) -> None:
        defs = told.protected(plain(), by={"report": ["checkout"]}, until="usable")
        told.failing["checkout"] = dict(self.FAULT)
        told.judge(defs)
        assert built(told.build(defs, "report")) == set()

    def test_a_fault_of_unknown_begin_blocks_every_day(self, told: Told, defs: dg.Definitions) -> None:
        told.failing["checkout"] = {}
        told.judge(defs)
        assert built(self.day(told, defs, "2026-03-02")) == set()

    def test_an_audit_that_is_too_old_leaves_the_days_it_covered(self, told: Told) -> None:
        defs = told.protected(
            self.daily(dg.BackfillPolicy.multi_run()),
            by={"report": ["checkout"]},
            until="usable",
            max_age=timedelta(hours=1),
        )
        told.failing["checkout"] = {"failing": ["freshness"], "usable_until": "2026-03-03T00:00:00Z"}
        told.judge(defs)
        assert [bool(built(self.day(told, defs, day))) for day in ("2026-03-02", "2026-03-03")] == [
            True,
            False,
        ]

    def test_of_a_step_of_several_only_the_blocked_days_of_the_blocked_report_are_left_out(
        self, told: Told
    ) -> None:
        specs = [dg.AssetSpec(key, skippable=True, partitions_def=DAYS) for key in ("conversion", "revenue")]

        @dg.multi_asset(specs=specs, can_subset=True)
        def project(context: dg.AssetExecutionContext) -> Iterator[Any]:
            for key in sorted(context.selected_asset_keys):
                yield dg.MaterializeResult(asset_key=key)

        defs = told.protected(project, by={"conversion": ["checkout"]}, until="usable")
        told.failing["checkout"] = dict(self.FAULT)
        told.judge(defs)
        days = {
            day: built(told.build(defs, "conversion", "revenue", tags={"dagster/partition": day}))
            for day in ("2026-03-02", "2026-03-03")
        }
        assert days == {"2026-03-02": {"conversion", "revenue"}, "2026-03-03": {"revenue"}}
