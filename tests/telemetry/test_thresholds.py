"""thresholds.toml: exd's tables and defaults; what is unknown is named and ignored."""

import warnings

import pytest

from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.manifest.thresholds import read_thresholds

EXD_SAMPLE = """
[srm]
significance_level = 0.0005
min_sample_size = 200
[lift]
significance_level = 0.05
min_per_variant_n = 1000
[evaluation_rate_anomaly]
drop_fraction = 0.4
window = "1h"
[manifest_skew]
max_versions_behind = 3
[dead_flag]
min_sample_size = 100
[rule]
min_evaluation_count = 100
[context]
min_evaluation_count = 100
"""


def write(tmp_path, text):
    path = tmp_path / "thresholds.toml"
    path.write_text(text)
    return path


def test_without_a_file_exds_defaults_hold():
    levels = read_thresholds()
    assert (levels.srm.significance_level, levels.srm.min_sample_size) == (0.001, 100)
    assert (levels.evaluation_rate_anomaly.drop_fraction, levels.manifest_skew.max_versions_behind) == (
        0.5,
        2,
    )
    assert levels.source == "builtin"


def test_exds_own_sample_file_is_read_without_a_warning(tmp_path):
    path = write(tmp_path, EXD_SAMPLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        levels = read_thresholds(path)
    assert (levels.srm.significance_level, levels.srm.min_sample_size) == (0.0005, 200)
    assert (levels.evaluation_rate_anomaly.drop_fraction, levels.manifest_skew.max_versions_behind) == (
        0.4,
        3,
    )
    assert levels.source == str(path)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "[smr]\nsignificance_level = .01".replace(" .01", " 0.01"),
            r"unknown table \[smr\].*Did you mean 'srm'",
        ),
        ("[srm]\nsignificance = 0.01", "unknown key srm.significance .*Did you mean 'significance_level'"),
        ('source = "x"', r"unknown table \[source\]"),
    ],
)
def test_unknown_name_is_warned_of_with_the_nearest(tmp_path, text, warning):
    with pytest.warns(UserWarning, match=warning):
        assert read_thresholds(write(tmp_path, text)).srm.significance_level == 0.001


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[srm]\nsignificance_level = 2", "significance_level"),
        ("srm = 1", r"write a table \[srm\]"),
        ("[srm", "is not TOML"),
    ],
)
def test_unusable_value_is_refused_naming_file_and_key(tmp_path, text, fault):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=fault) as error:
        read_thresholds(path)
    assert str(path) in str(error.value)


def test_all_faults_are_reported_at_once(tmp_path):
    text = "[srm]\nsignificance_level = 2\nmin_sample_size = 0\n[manifest_skew]\nmax_versions_behind = -1"
    with pytest.raises(ConfigError) as error:
        read_thresholds(write(tmp_path, text))
    assert len(error.value.faults) == 3


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_thresholds(tmp_path / "none.toml")
