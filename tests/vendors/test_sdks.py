"""What the vendors' SDKs write about assignments of their own, audited by the definitions they were given."""

import pytest

from tests.vendors.audits import audited, declared, recount
from tests.vendors.environment import SDKS, evaluated
from tests.vendors.independence import worst_pair

pytestmark = pytest.mark.vendors

EACH = [pytest.param(sdk, marks=pytest.mark.xdist_group(sdk)) for sdk in SDKS]
"""Every SDK; its tests share one process, and so its evaluations."""

FEW = 10_000
"""Users of a planted fault."""


@pytest.mark.parametrize("sdk", EACH)
def test_every_user_is_counted_in_the_arm_that_the_sdk_returned(sdk):
    """The audit's counts equal a recount of what the SDK returned to its caller."""
    run = evaluated(sdk)
    assert audited(sdk, run).counted == recount(sdk, run)
    assert sum(recount(sdk, run).values()) == 50_000


@pytest.mark.parametrize("sdk", EACH)
def test_the_split_of_the_definitions_passes(sdk):
    """The split read from the SDK's own definitions holds, and no unit changed its arm."""
    run = evaluated(sdk)
    verdicts = audited(sdk, run)
    assert list((declared(sdk, run, "flag-00").split or {}).values()) == pytest.approx([0.6, 0.4])
    assert (verdicts.verdicts.srm.verdict, verdicts.integrity.verdict) == ("pass", "pass")


@pytest.mark.parametrize("sdk", EACH)
def test_assignments_of_several_flags_are_independent(sdk):
    """No pair of four flags is dependent, at .001 over all pairs of all SDKs."""
    p, pairs, _ = worst_pair(evaluated(sdk, FEW // 2, flags=4, silent=True).assigned)
    assert pairs == 6
    assert p * len(SDKS) > 0.001


def test_two_flags_of_one_hash_are_found_dependent():
    """The test of independence sees flags that share their hash."""
    assigned = evaluated("eppo", FEW // 2, flags=4, silent=True).assigned
    p, _, phi = worst_pair({"one": assigned["flag-00"], "two": assigned["flag-00"]})
    assert (p, round(phi, 6)) == (0, 1)


@pytest.mark.parametrize("sdk", EACH)
def test_a_cached_arm_fails_the_split(sdk):
    """Every tenth event carries the arm of the first one."""
    srm = audited(sdk, evaluated(sdk, FEW, fault="cached")).verdicts.srm
    assert (srm.verdict, srm.severity) == ("fail", "ERROR")


@pytest.mark.parametrize("sdk", EACH)
def test_a_second_hash_fails_the_integrity_of_variants(sdk):
    """Every tenth user is evaluated again under another name, and recorded under the same one."""
    integrity = audited(sdk, evaluated(sdk, FEW, fault="second")).integrity
    assert (integrity.verdict, integrity.severity) == ("fail", "ERROR")
    assert 300 < integrity.multi_variant_units < 700
