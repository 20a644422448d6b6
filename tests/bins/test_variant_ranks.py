"""Ranks follow the order of names, and known ones move only when they must."""

from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.counting.audience import RANKS
from exd_dagster.bins.counting.variant_ranks import place

names = st.lists(st.text(max_size=3), max_size=12)


@given(st.lists(names, min_size=1, max_size=5))
def test_ranks_are_in_order_of_name_however_the_names_arrive(arrivals):
    ranks = {}
    for found in arrivals:
        ranks = place(ranks, found)
    assert sorted(ranks) == sorted(ranks, key=ranks.__getitem__)
    assert len(set(ranks.values())) == len(ranks)
    assert all(0 < rank < RANKS for rank in ranks.values())


def test_known_ranks_stay_while_there_is_room():
    known = place({}, ["b", "d"])
    assert {name: place(known, ["a", "c", "e"])[name] for name in known} == known


def test_ranks_are_spread_anew_when_there_is_no_room():
    ranks = place({"a": 1, "c": 2}, ["b"])
    assert ranks["a"] < ranks["b"] < ranks["c"]
