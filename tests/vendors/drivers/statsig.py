"""Statsig: bootstrapped config specs, and the events the SDK sends, received on loopback.

Batches wait in a queue of limited length, and the oldest is dropped for a new one (`statsig` 0.72.1,
`batch_event_queue.py`): the queue is long here, and the driver waits until everything has arrived.
"""

import json
import time

from drivers.collector import collector
from statsig import StatsigOptions, StatsigUser, statsig

ARM_FIELDS = ["metadata/ruleID"]


def definitions(keys):
    def rule(key, group, until):
        condition = {
            "type": "user_bucket",
            "operator": "lt",
            "targetValue": until,
            "field": None,
            "additionalValues": {"salt": f"{key}-salt"},
            "isDeviceBased": False,
            "idType": "userID",
        }
        return {
            "name": f"{key}-{group}",
            "id": group.lower(),
            "groupName": group,
            "salt": f"{key}-{group}",
            "passPercentage": 100,
            "conditions": [condition],
            "returnValue": {"arm": group.lower()},
            "isDeviceBased": False,
            "idType": "userID",
            "isExperimentGroup": True,
        }

    return {
        "has_updates": True,
        "time": 1_772_323_200_000,
        "feature_gates": [],
        "dynamic_configs": [
            {
                "name": key,
                "type": "dynamic_config",
                "entity": "experiment",
                "salt": f"{key}-salt",
                "enabled": True,
                "isActive": True,
                "defaultValue": {},
                "idType": "userID",
                "rules": [rule(key, "Control", 600), rule(key, "Treatment", 1000)],
            }
            for key in keys
        ],
        "layer_configs": [],
        "layers": {},
        "id_lists": {},
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}
    with collector() as server:
        options = StatsigOptions(
            api=f"{server.url}/v1/",
            bootstrap_values=json.dumps(document),
            rulesets_sync_interval=3600,
            idlists_sync_interval=3600,
            event_queue_size=2000,
            retry_queue_size=1000,
            disable_diagnostics=True,
        )
        statsig.initialize("secret-exd", options)
        get = statsig.get_experiment if write else statsig.get_experiment_with_exposure_logging_disabled
        for user in users:
            person = StatsigUser(user)
            for key in keys:
                assigned[key].append(get(person, key).get_value().get("arm"))
        while write and len(_exposures(server)) < len(users) * len(keys):
            statsig.flush()
            time.sleep(0.2)
        statsig.shutdown()
        for event in _exposures(server) if write else ():
            write(event)
    return assigned


def _exposures(server):
    events = [event for _, body in list(server.posts) for event in (body or {}).get("events") or ()]
    return [event for event in events if event.get("eventName") == "statsig::config_exposure"]
