"""Reports under declarative automation: what Dagster's own conditions do, and what the gate adds."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from exd_dagster.definitions.gate import gate_condition
from tests.definitions.blocking.alerting import BINS, AlertingSetup

AC = dg.AutomationCondition
GATE = gate_condition(BINS)


def setup(instance: dg.DagsterInstance, automation: object) -> AlertingSetup:
    """Return a setup whose automation has looked once, as a daemon has long done."""
    made = AlertingSetup(instance, automation=automation)
    assert made.asked() == 0
    return made


def test_bins_with_a_failed_check_are_not_asked_for(instance: dg.DagsterInstance) -> None:
    at = setup(instance, GATE)
    at.passed = False
    at.audit()
    assert at.asked() == 0


def test_a_check_that_passes_later_opens_the_gate(instance: dg.DagsterInstance) -> None:
    at = setup(instance, GATE)
    at.passed = False
    at.audit()
    at.asked()
    at.passed = True
    at.check()
    assert at.asked() == 1


def test_bins_with_a_passed_check_are_asked_for_once(instance: dg.DagsterInstance) -> None:
    at = setup(instance, GATE)
    at.audit()
    assert [at.asked(), at.asked()] == [1, 0]


def test_a_pass_from_before_the_bins_keeps_the_gate_closed(instance: dg.DagsterInstance) -> None:
    at = setup(instance, GATE)
    at.audit()
    at.asked()
    at.read()
    at.asked()
    at.build()
    assert at.asked() == 0


def test_a_check_that_crashed_keeps_the_gate_closed(instance: dg.DagsterInstance) -> None:
    at = setup(instance, GATE)
    at.passed = None
    at.audit()
    assert at.asked() == 0


def test_a_warning_alone_closes_the_gate_that_names_no_bins(instance: dg.DagsterInstance) -> None:
    """Why a gate is better told its bins."""
    at = setup(instance, gate_condition())
    at.passed, at.severity = False, dg.AssetCheckSeverity.WARN
    at.audit()
    assert at.asked() == 0


def test_eager_asks_for_nothing_behind_hourly_bins(instance: dg.DagsterInstance) -> None:
    """Why the gate does not build on it."""
    at = setup(instance, AC.eager())
    dg.materialize([at.bins], instance=instance, partition_key="2026-03-01-00:00")
    assert at.asked() == 0


class TestWhatDagsterAloneDoes:
    """Contracts: what `eager()` asks for behind bins without partitions, alone and with Dagster's own gate.

    Each test holds how often the report is asked for by either: [alone, with the gate].
    """

    ALONE = AC.eager()
    GATED = ALONE & AC.all_deps_blocking_checks_passed()

    @pytest.fixture
    def setups(self) -> Iterator[list[AlertingSetup]]:
        """A setup under each condition, whose bins were built, trusted and reported on once."""
        with ExitStack() as stack:
            instances = [stack.enter_context(dg.DagsterInstance.ephemeral()) for _ in range(2)]
            made = [
                AlertingSetup(instance, automation=automation, partitions=None)
                for instance, automation in zip(instances, (self.ALONE, self.GATED), strict=True)
            ]
            for at in made:
                at.audit()
                at.read()
                at.asked()
            yield made

    def test_a_check_that_failed_stops_only_the_gate(self, setups: list[AlertingSetup]) -> None:
        for at in setups:
            at.passed = False
            at.audit()
        assert [at.asked() for at in setups] == [1, 0]

    def test_a_check_that_passes_later_is_heard_by_the_gate_alone(self, setups: list[AlertingSetup]) -> None:
        for at in setups:
            at.passed = False
            at.audit()
            if at.asked():
                at.read()
            at.passed = True
            at.check()
        assert [at.asked() for at in setups] == [0, 1]

    def test_a_check_that_passed_stops_neither(self, setups: list[AlertingSetup]) -> None:
        for at in setups:
            at.audit()
        assert [at.asked() for at in setups] == [1, 1]

    def test_a_pass_from_before_the_bins_stops_only_the_gate(self, setups: list[AlertingSetup]) -> None:
        for at in setups:
            at.build()
        assert [at.asked() for at in setups] == [1, 0]

    def test_a_person_is_stopped_by_neither(self, setups: list[AlertingSetup]) -> None:
        for at in setups:
            at.passed = False
            at.audit()
        assert [at.read().success for at in setups] == [True, True]


def test_by_hand_the_gate_stops_nothing(instance: dg.DagsterInstance) -> None:
    """Why the guard exists."""
    at = setup(instance, GATE)
    at.passed = False
    at.audit()
    assert at.read().success


class TestOnCron:
    """A report each hour, behind a flag that fails and is put right within the hour."""

    TICK = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

    def asked_around_the_tick(self, at: AlertingSetup) -> list[int]:
        at.asked(evaluation_time=self.TICK - timedelta(minutes=30))
        first = at.asked(evaluation_time=self.TICK + timedelta(minutes=1))
        at.passed = False
        at.audit()
        failed = at.asked(evaluation_time=self.TICK + timedelta(minutes=2))
        at.passed = True
        at.check()
        return [first, failed, at.asked(evaluation_time=self.TICK + timedelta(minutes=3))]

    @pytest.mark.parametrize(
        ("automation", "asked"),
        [(AC.on_cron("0 * * * *"), [0, 1, 0]), (AC.on_cron("0 * * * *") & GATE, [0, 0, 1])],
        ids=["alone", "and the gate"],
    )
    def test_with_the_gate_it_waits_for_the_check(
        self, instance: dg.DagsterInstance, automation: object, asked: list[int]
    ) -> None:
        assert self.asked_around_the_tick(AlertingSetup(instance, automation=automation)) == asked
