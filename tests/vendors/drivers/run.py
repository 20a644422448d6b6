"""Evaluate users with one SDK, and leave what it wrote in a folder.

python -m drivers.run growthbook OUT --users 50000 --flags 2 --fault none

Leaves `definitions.json` (what the SDK was given), `events.ndjson` (what it wrote, the fault planted) and
`assigned.json` (the arm it returned for each user, by flag).
"""

import argparse
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

SECOND = "~2"
"""Ends the name under which a second hash knows a user."""


def main() -> None:
    """Read the arguments, evaluate, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sdk")
    parser.add_argument("out", type=Path)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--flags", type=int, default=1)
    parser.add_argument("--silent", action="store_true", help="evaluate only: nothing is written or sent")
    parser.add_argument("--fault", choices=("none", "cached", "second"), default="none")
    given = parser.parse_args()
    driver = import_module(f"drivers.{given.sdk}")
    keys = [f"flag-{index:02d}" for index in range(given.flags)]
    document = driver.definitions(keys)
    users = [f"user-{index:06d}" for index in range(given.users)]
    if given.fault == "second":
        users += [user + SECOND for user in users[::10]]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "definitions.json").write_text(json.dumps(document))
    with (given.out / "events.ndjson").open("w") as file:
        write = _planted(driver.ARM_FIELDS, given.fault, lambda record: file.write(_line(record)))
        assigned = driver.evaluate(document, users, keys, None if given.silent else write)
    (given.out / "assigned.json").write_text(json.dumps(assigned))


def _line(record: Any) -> str:
    return json.dumps(record, default=str).replace(SECOND, "") + "\n"


def _planted(arm_fields: list[str], fault: str, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a writer that gives every tenth record the arm of the first one, as a stale cache does."""
    if fault != "cached":
        return write
    first: dict[str, Any] = {}
    seen = 0

    def cached(record: Any) -> None:
        nonlocal seen
        seen += 1
        for field in arm_fields:
            place, name = _place(record, field)
            first.setdefault(field, place[name])
            if seen % 10 == 0:
                place[name] = first[field]
        write(record)

    return cached


def _place(record: Any, field: str) -> tuple[Any, str]:
    *path, name = field.split("/")
    for part in path:
        record = record[int(part)] if isinstance(record, list) else record[part]
    return record, name


if __name__ == "__main__":
    main()
