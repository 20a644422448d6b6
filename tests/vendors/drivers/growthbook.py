"""GrowthBook: the tracking callback, written as the exposure table its documentation asks for."""

from datetime import datetime, timezone

from growthbook import GrowthBook

ARM_FIELDS = ["variation_id"]


def definitions(keys):
    rule = {"variations": ["old", "new"], "weights": [0.6, 0.4], "coverage": 1, "hashVersion": 2}
    meta = [{"key": "control"}, {"key": "treatment"}]
    return {
        "status": 200,
        "features": {
            key: {"defaultValue": "old", "rules": [{**rule, "key": key, "seed": key, "meta": meta}]}
            for key in keys
        },
    }


def evaluate(document, users, keys, write):
    now = datetime.now(timezone.utc).isoformat()
    assigned = {key: [] for key in keys}
    seen = {}

    def track(experiment, result, user_context):
        seen[experiment.key] = result.key
        if write is None:
            return
        write(
            {
                "user_id": result.hashValue,
                "timestamp": now,
                "experiment_id": experiment.key,
                "variation_id": result.key,
            }
        )

    for user in users:
        book = GrowthBook(attributes={"id": user}, features=document["features"], on_experiment_viewed=track)
        for key in keys:
            book.eval_feature(key)
            assigned[key].append(seen[key])
        book.destroy()
    return assigned
