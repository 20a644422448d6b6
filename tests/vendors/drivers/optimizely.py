"""Optimizely: a datafile and the decision listener."""

import json
from datetime import datetime, timezone

from optimizely import optimizely
from optimizely.event_dispatcher import EventDispatcher
from optimizely.helpers import enums

ARM_FIELDS = ["decision_info/variation_key"]


def definitions(keys):
    experiments = [
        {
            "id": f"10{number}",
            "key": key,
            "status": "Running",
            "layerId": f"20{number}",
            "audienceIds": [],
            "forcedVariations": {},
            "variations": [
                {"id": f"30{number}", "key": "control", "featureEnabled": True, "variables": []},
                {"id": f"40{number}", "key": "treatment", "featureEnabled": True, "variables": []},
            ],
            "trafficAllocation": [
                {"entityId": f"30{number}", "endOfRange": 6000},
                {"entityId": f"40{number}", "endOfRange": 10_000},
            ],
        }
        for number, key in enumerate(keys)
    ]
    flags = [
        {"id": f"50{number}", "key": key, "experimentIds": [f"10{number}"], "rolloutId": "", "variables": []}
        for number, key in enumerate(keys)
    ]
    return {
        "version": "4",
        "projectId": "1",
        "accountId": "1",
        "revision": "1",
        "anonymizeIP": True,
        "botFiltering": False,
        "experiments": experiments,
        "featureFlags": flags,
        "rollouts": [],
        "groups": [],
        "audiences": [],
        "typedAudiences": [],
        "attributes": [],
        "events": [],
        "variables": [],
    }


class _Silent(EventDispatcher):
    @staticmethod
    def dispatch_event(event):
        """Send nothing: the listener has it."""


def evaluate(document, users, keys, write):
    client = optimizely.Optimizely(datafile=json.dumps(document), event_dispatcher=_Silent)

    def decided(kind, user, attributes, info):
        write(
            {
                "timestamp": datetime.now(timezone.utc).isoformat(),
                "type": kind,
                "user_id": user,
                "attributes": attributes,
                "decision_info": dict(info),
            }
        )

    if write:
        client.notification_center.add_notification_listener(enums.NotificationTypes.DECISION, decided)
    assigned = {key: [] for key in keys}
    for user in users:
        context = client.create_user_context(user)
        for key in keys:
            assigned[key].append(context.decide(key).variation_key)
    client.close()
    return assigned
