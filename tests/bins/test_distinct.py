"""Counting distinct values in lists: the same as sets of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.counting.distinct import NO_ID, distinct_ids, distinct_pairs, repeats

values = st.lists(st.sampled_from([NO_ID, 1, 2, 3, 2**64 - 1]), min_size=1, max_size=8)


@given(st.lists(st.lists(values, min_size=1, max_size=3), max_size=4))
def test_repeats_of_a_bin_are_its_values_less_its_different_ones(bins):
    lists = np.empty(sum(map(len, bins)), object)
    lists[:] = [np.array(kind, np.uint64) for kinds in bins for kind in kinds]
    whole = [[value for kind in kinds for value in kind] for kinds in bins]
    edges = np.cumsum([0, *map(len, whole)])
    assert repeats(lists, edges).tolist() == [len(one) - len(set(one)) for one in whole]


@pytest.mark.parametrize("bins", [1, 2, 3, 7])
def test_large_bins_sorted_on_several_threads_are_counted_alike(bins):
    lists = np.empty(bins, object)
    lists[:] = [np.arange(5000, dtype=np.uint64)[::-1] // (i + 1) for i in range(bins)]
    edges = np.arange(bins + 1) * 5000
    assert repeats(lists, edges).tolist() == [5000 - len(set(one.tolist())) for one in lists]


@given(values)
def test_every_missing_id_is_an_evaluation_of_its_own(ids):
    assert distinct_ids(np.array(ids, np.uint64)) == len(set(ids) - {NO_ID}) + ids.count(NO_ID)


@given(st.lists(st.tuples(st.integers(-1, 2), st.sampled_from([NO_ID, 1, 2]))))
def test_an_id_counts_once_for_each_unit(rows):
    units, ids = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    named = [row for row in rows if row[1] != NO_ID]
    assert distinct_pairs(units, ids) == len(set(named)) + len(rows) - len(named)
