"""Split: definitions served on loopback, and the impression listener, which localhost mode does not call."""

from drivers.collector import collector
from splitio import get_factory
from splitio.client.listener import ImpressionListener

ARM_FIELDS = ["treatment"]


def definitions(keys):
    condition = {
        "conditionType": "ROLLOUT",
        "matcherGroup": {"combiner": "AND", "matchers": [{"matcherType": "ALL_KEYS", "negate": False}]},
        "partitions": [{"treatment": "off", "size": 60}, {"treatment": "on", "size": 40}],
        "label": "default rule",
    }
    changes = {
        "d": [
            {
                "name": key,
                "trafficTypeName": "user",
                "trafficAllocation": 100,
                "trafficAllocationSeed": 7 + number,
                "seed": 1_000_003 * (number + 1),
                "status": "ACTIVE",
                "killed": False,
                "defaultTreatment": "off",
                "changeNumber": 1_772_323_200_000,
                "algo": 2,
                "conditions": [condition],
                "configurations": {},
            }
            for number, key in enumerate(keys)
        ],
        "s": -1,
        "t": 1_772_323_200_000,
    }
    return {"ff": changes, "rbs": {"d": [], "s": -1, "t": -1}}


def evaluate(document, users, keys, write):
    class Listener(ImpressionListener):
        def log_impression(self, data):
            impression = data["impression"]
            write(
                {
                    "key": impression.matching_key,
                    "feature": impression.feature_name,
                    "treatment": impression.treatment,
                    "label": impression.label,
                    "changeNumber": impression.change_number,
                    "bucketingKey": impression.bucketing_key,
                    "time": impression.time,
                }
            )

    assigned = {key: [] for key in keys}

    def answer(path):
        if "/splitChanges" not in path or "since=-1" in path:
            return document if "/splitChanges" in path else {}
        till = document["ff"]["t"]
        return {"ff": {"d": [], "s": till, "t": till}, "rbs": document["rbs"]}

    with collector(answer) as server:
        urls = ("sdk_api_base_url", "events_api_base_url", "auth_api_base_url", "telemetry_api_base_url")
        factory = get_factory(
            "key",
            config={
                "impressionListener": Listener() if write else None,
                "impressionsMode": "DEBUG",
                "streamingEnabled": False,
                "featuresRefreshRate": 3600,
            },
            **dict.fromkeys(urls, server.url),
        )
        factory.block_until_ready(10)
        client = factory.client()
        for user in users:
            for key in keys:
                assigned[key].append(client.get_treatment(user, key))
        factory.destroy()
    return assigned
