"""Tests of exd_dagster.stats."""
