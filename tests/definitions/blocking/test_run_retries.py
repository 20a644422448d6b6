"""Run retries are for lost workers: what Dagster decides about a run that failed a blocking check."""

import dagster as dg
import pytest

from tests.definitions.blocking.alerting import ALL_HOURS, AlertingSetup


@pytest.mark.parametrize(("on_failure", "again"), [(True, "true"), (False, "false")])
def test_a_failed_check_is_run_again_unless_the_instance_says_otherwise(on_failure: bool, again: str) -> None:
    retries = {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": on_failure}
    with dg.instance_for_test(overrides={"run_retries": retries}) as instance:
        setup = AlertingSetup(instance, passed=False)
        result = dg.materialize(
            [setup.bins, setup.trust, setup.report], instance=instance, tags=ALL_HOURS, raise_on_error=False
        )
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/will_retry"] == again
