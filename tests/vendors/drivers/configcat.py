"""ConfigCat: a local config file in place of the service, and the hook on evaluations."""

import json
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import configcatclient
from configcatclient import ConfigCatOptions
from configcatclient.configcatoptions import Hooks
from configcatclient.localfiledatasource import LocalFileFlagOverrides
from configcatclient.overridedatasource import OverrideBehaviour
from configcatclient.pollingmode import PollingMode
from configcatclient.user import User

ARM_FIELDS = ["variationId", "value"]


def definitions(keys):
    return {
        "p": {"u": "https://127.0.0.1", "r": 0, "s": "c2FsdA=="},
        "f": {
            key: {
                "t": 1,
                "v": {"s": "control"},
                "i": "default",
                "p": [
                    {"p": 60, "v": {"s": "control"}, "i": "id-control"},
                    {"p": 40, "v": {"s": "treatment"}, "i": "id-treatment"},
                ],
            }
            for key in keys
        },
    }


def evaluate(document, users, keys, write):
    assigned = {key: [] for key in keys}

    def evaluated(details):
        write(
            {
                "timestamp": datetime.now(timezone.utc).isoformat(),
                "key": details.key,
                "value": details.value,
                "variationId": details.variation_id,
                "user": {"identifier": details.user.get_identifier()},
                "isDefaultValue": details.is_default_value,
            }
        )

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(document))
        client = configcatclient.get(
            "localonly",
            ConfigCatOptions(
                polling_mode=PollingMode.manual_poll(),
                flag_overrides=LocalFileFlagOverrides(str(file), OverrideBehaviour.LocalOnly),
                hooks=Hooks(on_flag_evaluated=evaluated if write else None),
            ),
        )
        for user in users:
            person = User(user)
            for key in keys:
                assigned[key].append(client.get_value(key, "none", person))
        client.close()
    return assigned
