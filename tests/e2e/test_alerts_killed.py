"""A real process that ticks the alert sensor is killed with SIGKILL again and again; nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.state import StateStore
from exd_dagster.definitions.alerting.sensor import deliveries
from exd_dagster.definitions.internals import cursor_storage
from tests.definitions.test_sensors import FAILED, evaluate
from tests.servers.http import HttpServer

FLAGS, KILLS = 30, 6
CHECKS = ("srm", "sequential_srm", "traffic_drop")
BAD_FROM = ("2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z")
TICKER = f"""
import sys
import dagster as dg
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import WebhookAlerts
from exd_dagster.definitions.alerting.sensor import build_check_alert_sensor, run_alert_sensor

split = {{"off": 0.5, "on": 0.5}}
flags = [FlagAudit(key=f"flag-{{i}}", split=split, start="2026-01-01") for i in range({FLAGS})]
keys = {{
    dg.AssetCheckKey(dg.AssetKey(["experiments", f"{{flag.key}}_bins"]), check): flag
    for flag in flags
    for check in {CHECKS}
}}
hook = WebhookAlerts(url=sys.argv[1], allow_hosts=["127.0.0.1"])
sensor = build_check_alert_sensor(keys, [hook], digest=False)
with dg.DagsterInstance.get() as instance:
    print("ticking", flush=True)
    while True:
        run_alert_sensor(sensor, instance)
"""


@pytest.mark.e2e
def test_a_process_killed_at_random_moments_tells_everything_and_repeats_at_most_once_per_kill(
    tmp_path: Path,
) -> None:
    chance = random.Random(11)
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance, HttpServer() as server:
        environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
        command = [sys.executable, "-c", TICKER, server.url]
        StateStore(cursor_storage(instance), "exd_check_alerts").save(AlertState(started=True))
        for kill in range(KILLS + 1):
            expected = FLAGS * min(kill + 1, len(CHECKS))
            for index in range(FLAGS) if kill < 3 else ():
                evaluate(instance, f"flag-{index}", CHECKS[kill], {**FAILED, "bad_from": BAD_FROM[kill]})
            before = len(server.received)
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
                try:
                    assert process.stdout is not None
                    assert process.stdout.readline() == "ticking\n"
                    wanted = before + (chance.randint(0, 25) if kill < KILLS else FLAGS * 99)
                    wait_until(
                        lambda wanted=wanted, expected=expected: (
                            len(server.received) >= wanted or all_delivered(instance, expected)
                        )
                    )
                finally:
                    process.send_signal(signal.SIGKILL)
        reported = {
            (request.json["details"]["flag"], request.json["details"]["check"]) for request in server.received
        }
        assert reported == {(f"flag-{index}", check) for index in range(FLAGS) for check in CHECKS}
        ids = Counter(request.headers["webhook-id"] for request in server.received)
        assert sum(ids.values()) - len(ids) <= KILLS
        assert {row.status for row in deliveries(instance)} == {"sent"}


def all_delivered(instance: dg.DagsterInstance, expected: int) -> bool:
    """True when every failing check was reported."""
    rows = deliveries(instance)
    return len(rows) == expected and all(row.status == "sent" for row in rows)


def wait_until(true) -> None:
    """Poll; fails after a minute."""
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)
