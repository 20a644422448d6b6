"""Whatever a project writes down, it gets definitions or an error of ours that names the field."""

import math
from datetime import datetime, timezone

import pytest
from dagster_duckdb import DuckDBResource
from hypothesis import given, settings
from hypothesis import strategies as st

import exd_dagster as exd
from exd_dagster.config import Event, Phase, Thresholds, Timing
from exd_dagster.errors import ConfigError

SPLIT = {"a": 0.5, "b": 0.5}
VALID = {"key": "f", "split": SPLIT, "start": "2026-03-01"}
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**20), math.nan, math.inf, 1e300]),
    st.sampled_from(["9999-12-31T23:59:59-05:00", "0001-01-01", "2026-02-30", "1h", "999999w"]),
    st.sampled_from(["", "\0", "\udc80", "%", "{}", "'; --", "../x", "a\nb", "x" * 256]),
    st.datetimes(),
    st.datetimes(timezones=st.just(timezone.utc)),
    st.text(max_size=5),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("model", [exd.FlagAudit, Phase, Event, Timing, Thresholds, exd.ParquetRecords])
@given(data=st.data())
@settings(max_examples=40)
def test_any_value_of_any_field_is_taken_or_refused_by_us(model, data):
    required = {exd.FlagAudit: VALID, Phase: {"start": "2026-03-01", "split": SPLIT}}.get(model, {})
    required = {"path": "x.parquet"} if model is exd.ParquetRecords else required
    field = data.draw(st.sampled_from(sorted(model.model_fields)))
    value = data.draw(values)
    try:
        model(**{**required, field: value})
    except ConfigError as error:
        assert error.faults  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", datetime.max.replace(tzinfo=timezone.utc)])
def test_a_far_end_is_refused_with_the_way_to_say_never(end):
    with pytest.raises(ConfigError, match="no end for one that stays open"):
        exd.FlagAudit(**VALID, end=end)


@pytest.mark.parametrize("field", ["ignore_variants", "dimensions", "exclude_reasons"])
def test_half_a_character_is_refused_wherever_it_stands(field):
    with pytest.raises(ConfigError, match=f"{field} contains half a character"):
        exd.FlagAudit(**VALID, **{field: ["\udc80"]})
    with pytest.raises(ConfigError, match="include contains half a character"):
        exd.FlagAudit(**VALID, include={"country": ["\udc80"]})


def test_arguments_of_wrong_types_are_reported_at_once():
    with pytest.raises(ConfigError) as raised:
        exd.build_flag_audit_defs(flags=[5], records="x.parquet", store="exd.duckdb", alerts=[None])
    assert [fault.split(":")[0] for fault in raised.value.faults] == ["flags", "alerts", "store"]


def test_one_flag_is_no_list_of_flags():
    with pytest.raises(ConfigError, match=r"write flags=\[\.\.\.\]"):
        exd.build_flag_audit_defs(
            flags=exd.FlagAudit(**VALID), records="x.parquet", store=DuckDBResource(database="x")
        )
