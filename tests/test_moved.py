"""Imports written for the former layout keep working."""

from importlib import import_module

import pytest

from exd_dagster._moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_former_name_is_the_module_where_it_is_now(old):
    with pytest.warns(DeprecationWarning, match=f"exd_dagster.{old} is now"):
        found = import_module(f"exd_dagster.{old}")
    assert found is import_module(f"exd_dagster.{MOVED[old]}")
