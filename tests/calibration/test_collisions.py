"""A shared salt between two of 500 flags is found the first night; healthy fleets show no pair on any."""

from hashlib import sha1

import numpy as np
import pytest

from exd_dagster.bins.model import SharedUnits
from exd_dagster.config import FlagId
from exd_dagster.stats.collisions import LEVEL, assignment_collision
from tests.calibration.simulate import at_most

pytestmark = pytest.mark.calibration

FLAGS = tuple(FlagId("", "", f"flag_{number:03d}") for number in range(500))
ALL = lambda _a, _b: True  # noqa: E731
NAMES = ("control", "treatment", "other")


def arms_of(buckets: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Return the number of the arm that each bucket in [0, 1) falls into."""
    return np.searchsorted(np.cumsum(shares)[:-1], buckets, side="right")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0.5, 0.5), (0.5, 0.5)),
        ((0.9, 0.1), (0.5, 0.5)),
        ((0.99, 0.01), (0.5, 0.5)),
        ((0.34, 0.33, 0.33), (0.5, 0.5)),
    ],
)
@pytest.mark.parametrize("quarter", [0, 2])
def test_a_shared_salt_of_two_of_500_flags_is_found_the_first_night(one, other, quarter, measured):
    """20,000 shared units, whole or as a sample of one in 16; all 124,750 pairs count."""
    random, runs, found = np.random.default_rng(21), 40, 0
    enough = 20_000 * 0.25**quarter * min(*one, *other) > 20
    arms = {flag: [list(NAMES[:2])] for flag in FLAGS} | {FLAGS[3]: [list(NAMES[: len(one)])]}
    names = tuple((flag, 0, name) for flag in (FLAGS[3], FLAGS[7]) for name in NAMES)
    for _ in range(runs):
        n = int(random.binomial(20_000, 0.25**quarter))
        bucket = random.random(n)
        cells = np.concatenate([arms_of(bucket, one), 3 + arms_of(bucket, other)])
        verdict = assignment_collision(
            SharedUnits(np.tile(np.arange(n), 2), cells, names, quarter), arms, ALL
        )
        found += [pair.flags for pair in verdict.collisions] == [("flag_003", "flag_007")]
    splits = " and ".join("/".join(f"{100 * share:g}" for share in split) for split in (one, other))
    measured(
        f"shared salt of 2 of 500 flags, 20,000 shared units, {splits}, 1 in {4**quarter} units",
        ">= .99 the first night" if enough else "(too few units of the 1 % arm)",
        f"{found} of {runs}",
    )
    assert found == runs or not enough


def test_the_evidence_of_an_honest_pair_stays_below_its_level_on_all_nights(measured):
    """3,000 pairs of 90/10 and 50/50, looked at on 1,000 nights of 30 shared units, at level .05."""
    from exd_dagster.stats.collisions import _Fleet

    random, level, runs, nights = np.random.default_rng(22), 0.05, 3000, 1000
    fleet = _Fleet.of({flag: [list(NAMES[:2])] for flag in FLAGS[:2]})
    looks = np.unique(np.geomspace(1, nights, 40).astype(int)) - 1
    reached = 0
    for _ in range(runs):
        cells = np.outer([0.9, 0.1], [0.5, 0.5]).ravel()
        by_night = random.multinomial(30, cells, size=nights).cumsum(axis=0)[looks]
        for joint in by_night:
            counted = np.zeros((4, 4))
            counted[:2, 2:] = joint.reshape(2, 2)
            if fleet.evidence(counted, 0)[0][1] >= np.log(1 / level):
                reached += 1
                break
    measured(
        "an independent pair's evidence ever reaches 20 in 1,000 nights", "<= .05", f"{reached / runs:.4f}"
    )
    assert reached <= at_most(level, runs)


def test_an_honest_fleet_shows_no_pair_in_a_thousand_nights(measured):
    """40 flags that ramp on the same nights; every night new units, each in about five flags."""
    random, flags, found = np.random.default_rng(23), FLAGS[:40], 0
    arms = {flag: [list(NAMES[:2])] * 3 for flag in flags}
    names = tuple((flag, phase, name) for flag in flags for phase in range(3) for name in NAMES[:2])
    units, cells, born = np.zeros(0, int), np.zeros(0, int), 0
    for night in range(1000):
        phase = min(night // 100, 2)
        inside = np.argwhere(random.random((30, len(flags))) < 5 / len(flags))
        treated = random.random(len(inside)) < (0.1, 0.5, 0.9)[phase]
        units = np.append(units, born + inside[:, 0])
        cells = np.append(cells, inside[:, 1] * 6 + 2 * phase + treated)
        born += 30
        if night % 20 == 0 or night < 50:
            verdict = assignment_collision(SharedUnits(units, cells, names), arms, ALL)
            found += bool(verdict.collisions or verdict.dependent)
    what = "healthy fleet of 40 flags that ramp together, 97 looks in 1,000 nights: any pair"
    measured(what, f"<= {LEVEL}", str(found))
    assert found == 0


def test_flags_of_an_sdk_with_a_salt_each_pass_and_two_with_one_do_not(measured):
    """Buckets as SDKs make them: SHA-1 of salt and user, its first 15 hex digits as a share of all."""
    users = range(3000)
    salts = [f"flag-{number}" for number in range(28)] + ["flag-0"]
    flags = FLAGS[: len(salts)]
    buckets = [
        [int(sha1(f"{salt}.{user}".encode()).hexdigest()[:15], 16) / 16**15 for user in users]
        for salt in salts
    ]
    arms = {flag: [list(NAMES[:2])] for flag in flags}
    names = tuple((flag, 0, name) for flag in flags for name in NAMES[:2])
    cells = np.concatenate([2 * place + arms_of(np.array(b), (0.5, 0.5)) for place, b in enumerate(buckets)])
    verdict = assignment_collision(SharedUnits(np.tile(users, len(salts)), cells, names), arms, ALL)
    pairs = [pair.flags for pair in (*verdict.collisions, *verdict.dependent)]
    measured(
        "29 flags of an SDK, one with another's salt: pairs found",
        "that pair alone",
        ", ".join(map(str, pairs)),
    )
    assert pairs == [("flag_000", "flag_028")]
