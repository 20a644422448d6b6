"""LaunchDarkly: a file data source, and the events the SDK sends, received on loopback.

A flush that finds all five senders busy leaves its events in the buffer, and close() drops them
(`launchdarkly-server-sdk` 9.20.0, `event_processor.py`): the driver flushes until everything has arrived.
"""

import json
import tempfile
import time
from pathlib import Path

import ldclient
from drivers.collector import collector
from ldclient.config import Config, HTTPConfig
from ldclient.integrations import Files

ARM_FIELDS = ["variation", "value"]


def definitions(keys):
    rollout = {"variations": [{"variation": 0, "weight": 60_000}, {"variation": 1, "weight": 40_000}]}
    return {
        "flags": {
            key: {
                "key": key,
                "on": True,
                "version": 1,
                "salt": f"salt of {key}",
                "variations": ["control", "treatment"],
                "offVariation": 0,
                "fallthrough": {"rollout": {"contextKind": "user", **rollout}},
                "trackEvents": True,
            }
            for key in keys
        },
        "segments": {},
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}
    with collector() as server, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.json"
        file.write_text(json.dumps(document))
        client = ldclient.LDClient(
            Config(
                "sdk-key",
                update_processor_class=Files.new_data_source(paths=[str(file)]),
                events_uri=server.url,
                send_events=write is not None,
                diagnostic_opt_out=True,
                events_max_pending=200_000,
                http=HTTPConfig(connect_timeout=10, read_timeout=60),
            ),
            start_wait=10,
        )
        for number, user in enumerate(users, 1):
            context = ldclient.Context.create(user)
            for key in keys:
                assigned[key].append(client.variation_detail(key, context, "none").value)
            if number % 500 == 0:
                client.flush()  # the inbox of the event processor holds some hundreds
        while write and len(_features(server)) < len(users) * len(keys):
            client.flush()
            time.sleep(0.1)
        client.close()
        for event in _features(server) if write else ():
            write(event)
    return assigned


def _features(server):
    return [
        event for _, events in list(server.posts) for event in events or () if event.get("kind") == "feature"
    ]
