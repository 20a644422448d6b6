"""Flagsmith: local evaluation of an environment document, and the exposure events the SDK sends to loopback.

Its offline handler evaluates too, but sends no events.
"""

from drivers.collector import collector
from flagsmith import Flagsmith
from flagsmith.analytics import EventProcessorConfig, session

ARM_FIELDS = ["value"]


def definitions(keys):
    def option(number, name, percent):
        value = {"id": number, "percentage_allocation": percent, "mv_fs_value_uuid": f"{number}"}
        return {**value, "multivariate_feature_option": {"value": name}}

    return {
        "api_key": "environment",
        "name": "Test",
        "updated_at": "2026-03-01T00:00:00Z",
        "project": {"segments": []},
        "identity_overrides": [],
        "feature_states": [
            {
                "enabled": True,
                "feature_state_value": "control",
                "featurestate_uuid": f"00000000-0000-0000-0000-0000000000{number:02d}",
                "feature": {"id": number + 1, "name": key},
                "multivariate_feature_state_values": [
                    option(2 * number + 1, "control", 60.0),
                    option(2 * number + 2, "treatment", 40.0),
                ],
            }
            for number, key in enumerate(keys)
        ],
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}
    with collector(lambda path: document if "environment-document" in path else {}) as server:
        client = Flagsmith(
            environment_key="ser.environment",
            api_url=f"{server.url}/api/v1/",
            enable_local_evaluation=True,
            environment_refresh_interval_seconds=3600,
            enable_events=True,
            event_processor_config=EventProcessorConfig(events_api_url=server.url, max_buffer_items=1000),
        )
        for user in users:
            flags = client.get_identity_flags(user)
            for key in keys:
                arm = flags.get_feature_value(key)
                if write:
                    client.track_exposure_event(key, user, value=arm)
                assigned[key].append(arm)
        client._event_processor.stop()
        session.executor.shutdown()  # what was sent last may still be under way
        for path, body in server.posts:
            for event in body["events"] if path.endswith("/events") else ():
                write(event)
    return assigned
