"""What fields inside objects cost: events of a preset as NDJSON, beside the same facts in flat columns.

python -m benchmarks.bench_presets     1e6 events of each kind
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import process_time

import duckdb

from benchmarks import line
from benchmarks.bench_logs import END, NOW, START, folder
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.sources.duckdb import FileRecords

EVENTS = 1_000_000
FLAG = FlagAudit(key="checkout", start=START, split={"control": 0.5, "treatment": 0.5})


def facts(events: int) -> Iterator[tuple[str, int, str, str, int]]:
    """Yield instant as text and in nanoseconds, unit, variant and number of each event."""
    chance = random.Random(11)
    for number in range(events):
        at = START + timedelta(seconds=chance.uniform(0, 13 * 86400))
        unit = chance.randrange(events // 3)
        arm = "treatment" if unit % 2 else "control"
        yield at.isoformat(timespec="milliseconds"), int(at.timestamp() * 1e9), f"user-{unit}", arm, number


def flat(at: str, _: int, unit: str, arm: str, number: int) -> dict[str, object]:
    return {
        "event": "$feature_flag_called",
        "evaluation_id": f"018e-{number}",
        "unit_id_hash": unit,
        "timestamp": at,
        "flag_key": "checkout",
        "variant_key": arm,
        "lib": "posthog-python",
        "lib_version": "7.91.1",
        "geoip_disable": True,
        "os": "Linux",
    }


def posthog(at: str, _: int, unit: str, arm: str, number: int) -> dict[str, object]:
    return {
        "event": "$feature_flag_called",
        "uuid": f"018e-{number}",
        "distinct_id": unit,
        "timestamp": at,
        "properties": {
            "$feature_flag": "checkout",
            "$feature_flag_response": arm,
            "$lib": "posthog-python",
            "$lib_version": "7.91.1",
            "$geoip_disable": True,
            "$os": "Linux",
        },
    }


def launchdarkly(_: str, nanos: int, unit: str, arm: str, number: int) -> dict[str, object]:
    return {
        "kind": "feature",
        "key": "checkout",
        "creationDate": nanos // 10**6,
        "variation": ["control", "treatment"].index(arm),
        "value": arm == "treatment",
        "default": False,
        "version": 7,
        "reason": {"kind": "FALLTHROUGH"},
        "context": {"kind": "user", "key": unit, "country": "DE"},
        "samplingRatio": number % 1 + 1,
    }


def otlp(_: str, nanos: int, unit: str, arm: str, __: int) -> dict[str, object]:
    named = {
        "feature_flag.key": "checkout",
        "feature_flag.result.variant": arm,
        "feature_flag.result.reason": "split",
        "feature_flag.context.id": unit,
    }
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in named.items()]
    record = {"timeUnixNano": str(nanos), "eventName": "feature_flag.evaluation", "attributes": attributes}
    return {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"logRecords": [record]}]}]}


KINDS: dict[str, Callable[..., dict[str, object]]] = {
    "posthog": posthog,
    "launchdarkly": launchdarkly,
    "opentelemetry-otlp": otlp,
}


def write(name: str, make: Callable[..., dict[str, object]], events: int) -> Path:
    """Write the events unless they are there, and return the path."""
    path = folder() / f"preset-{name}-{events}.ndjson"
    if not path.exists():
        with path.open("w") as file:
            file.writelines(json.dumps(make(*fact)) + "\n" for fact in facts(events))
    return path


def seconds(records: FileRecords, times: int = 3) -> float:
    """Return the least seconds of the processors that a whole count of the log takes."""
    least = float("inf")
    for _ in range(times):
        with duckdb.connect(config={"threads": 2}) as connection:
            begin = process_time()
            report = BinStore(connection).update(records, [FLAG], START, END, now=NOW)
            least = min(least, process_time() - begin)
            assert report.flags[FLAG.id].error is None
    return least


def main(events: int = EVENTS) -> None:
    """Count the events of each kind."""
    peer = seconds(FileRecords(path=write("flat", flat, events)))
    for name, make in KINDS.items():
        records = FileRecords(path=write(name, make, events), preset=name)
        line.tell(f"{events:.0e} events of preset {name}", seconds(records), "cpu s", peer=peer, target=2.0)


if __name__ == "__main__":
    main()
