"""PostHog: local evaluation of given flags, and the events the SDK sends, received on loopback."""

from drivers.collector import collector
from posthog import Posthog

ARM_FIELDS = ["properties/$feature_flag_response"]


def definitions(keys):
    variants = [{"key": "control", "rollout_percentage": 60}, {"key": "treatment", "rollout_percentage": 40}]
    return {
        "flags": [
            {
                "id": number + 1,
                "key": key,
                "active": True,
                "deleted": False,
                "filters": {
                    "groups": [{"properties": [], "rollout_percentage": 100}],
                    "multivariate": {"variants": variants},
                },
            }
            for number, key in enumerate(keys)
        ],
        "group_type_mapping": {},
        "cohorts": {},
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}
    with collector() as server:
        client = Posthog(
            "phc_exd",
            host=server.url,
            personal_api_key="phx_exd",
            poll_interval=3600,
            max_queue_size=1_000_000,
            flush_at=1000,
            disable_geoip=True,
        )
        client.feature_flags = document["flags"]
        client.feature_flags_by_key = {flag["key"]: flag for flag in document["flags"]}
        client.group_type_mapping, client.cohorts = {}, {}
        for user in users:
            for key in keys:
                assigned[key].append(
                    client.get_feature_flag(
                        key, user, only_evaluate_locally=True, send_feature_flag_events=write is not None
                    )
                )
        client.shutdown()
        for _, body in server.posts:
            for event in (body or {}).get("batch") or ():
                if event.get("event") == "$feature_flag_called":
                    write(event)
    return assigned
