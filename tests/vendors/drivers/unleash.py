"""Unleash: a bootstrapped client and its impression events.

The client hands events to the callback through a queue of 100 and drops what does not fit (UnleashClient
6.9.1, `_event_dispatcher.py`): the evaluations wait for the callback here.
"""

import tempfile
import time
from datetime import datetime, timezone

from UnleashClient import UnleashClient
from UnleashClient.cache import FileCache
from UnleashClient.utils import InstanceAllowType

ARM_FIELDS = ["variant"]


def definitions(keys):
    variants = [
        {"name": name, "weight": weight, "weightType": "fix", "stickiness": "userId"}
        for name, weight in (("control", 600), ("treatment", 400))
    ]
    strategy = {"name": "flexibleRollout", "constraints": [], "segments": []}
    return {
        "version": 2,
        "features": [
            {
                "name": key,
                "type": "experiment",
                "enabled": True,
                "impressionData": True,
                "strategies": [
                    {**strategy, "parameters": {"rollout": "100", "stickiness": "userId", "groupId": key}}
                ],
                "variants": variants,
            }
            for key in keys
        ],
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}

    received = 0

    def impression(event):
        nonlocal received
        if event.event_type.name != "VARIANT":
            return
        received += 1
        write(
            {
                "eventType": event.event_type.value,
                "eventId": event.event_id,
                "timestamp": datetime.now(timezone.utc).isoformat(),
                "context": event.context,
                "enabled": event.enabled,
                "featureName": event.feature_name,
                "variant": event.variant,
            }
        )

    with tempfile.TemporaryDirectory() as folder:
        cache = FileCache("exd", directory=folder)
        cache.bootstrap_from_dict(document)
        client = UnleashClient(
            url="http://127.0.0.1:9/api",
            app_name="exd",
            cache=cache,
            disable_metrics=True,
            disable_registration=True,
            event_callback=impression if write else None,
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
        )
        client.initialize_client(fetch_toggles=False)
        for number, user in enumerate(users):
            while write and number * len(keys) - received > 50:
                time.sleep(0.0005)
            for key in keys:
                assigned[key].append(client.get_variant(key, {"userId": user})["name"])
        client.destroy()
    return assigned
