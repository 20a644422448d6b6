"""Eppo: an initial configuration without polling, and the assignment logger."""

import json

import eppo_client
from eppo_client import AssignmentLogger, ClientConfig, Configuration

ARM_FIELDS = ["variation"]


def definitions(keys):
    def split(key, variation, start, end):
        return {
            "variationKey": variation,
            "shards": [{"salt": f"{key}-split", "ranges": [{"start": start, "end": end}]}],
        }

    return {
        "createdAt": "2026-03-01T00:00:00.000Z",
        "format": "SERVER",
        "environment": {"name": "Test"},
        "flags": {
            key: {
                "key": key,
                "enabled": True,
                "variationType": "STRING",
                "variations": {name: {"key": name, "value": name} for name in ("control", "treatment")},
                "totalShards": 10_000,
                "allocations": [
                    {
                        "key": "experiment",
                        "rules": [],
                        "splits": [split(key, "control", 0, 6000), split(key, "treatment", 6000, 10_000)],
                        "doLog": True,
                    }
                ],
            }
            for key in keys
        },
    }


def evaluate(document, users, keys, write):
    class Logger(AssignmentLogger):
        def log_assignment(self, event):
            if write:
                write(dict(event))

    client = eppo_client.init(
        ClientConfig(
            api_key="none",
            base_url="http://127.0.0.1:9",
            assignment_logger=Logger(),
            poll_interval_seconds=None,
            initial_configuration=Configuration(flags_configuration=json.dumps(document).encode()),
        )
    )
    assigned = {key: [] for key in keys}
    for user in users:
        for key in keys:
            assigned[key].append(client.get_string_assignment(key, user, {}, "none"))
    return assigned
