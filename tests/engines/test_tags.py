"""Tags of engines that no test runs, by the attributes that their clients have."""

from types import SimpleNamespace

import pytest

from exd_dagster.bins.engine.session import tagged


def test_bigquery_labels_its_jobs_beside_the_labels_of_the_client():
    """`QueryJobConfig.labels` of google-cloud-bigquery: a query takes over the client's defaults."""
    config = SimpleNamespace(labels={"team": "growth"})
    backend = SimpleNamespace(name="bigquery", client=SimpleNamespace(default_query_job_config=config))
    with tagged(backend):
        assert config.labels == {"team": "growth", "application": "exd_dagster"}
    assert config.labels == {"team": "growth"}


@pytest.mark.parametrize("setting", [None, SimpleNamespace(readonly=1)])
def test_clickhouse_is_not_tagged_where_its_user_may_change_no_setting(setting):
    """Its client raises when a setting is read-only."""
    client = SimpleNamespace(server_settings={"log_comment": setting} if setting else {})
    with tagged(SimpleNamespace(name="clickhouse", con=client)):
        pass
