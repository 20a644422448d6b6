"""Flag, variant, unit and time of exports that no preset knows, told by names, places and values."""

import json
import random
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from exd_dagster.telemetry.guess import guess
from exd_dagster.telemetry.paths import values_at

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
FLAGS, UNITS = ("exp-1", "exp-2"), 150


class Chance:
    """Draws the values of one row."""

    def __init__(self, number):
        self.random = random.Random(number)
        self.at = START + timedelta(seconds=self.random.uniform(0, 3e5))
        self.unit = f"u{self.random.randrange(UNITS)}"
        self.arm = self.random.choice(("A", "B"))
        self.flag = self.random.choice(FLAGS)
        self.iso = self.at.isoformat().replace("+00:00", "Z")
        self.ms = int(self.at.timestamp() * 1000)

    def unique(self):
        return str(uuid.UUID(int=self.random.getrandbits(128)))


def key_value(key, value):
    return {"key": key, "value": {"string_value": value, "int_value": None}}


EXPORTS = {
    "a warehouse table": (
        lambda c: {
            "experiment_key": c.flag, "variation_id": c.arm, "anonymous_id": c.unit, "received_at": c.iso,
            "country": c.random.choice("abc"), "browser": "x",
        },
        ("experiment_key", "variation_id", "anonymous_id", "received_at"),
    ),
    "nested objects": (
        lambda c: {"ts": c.ms, "flag": {"key": c.flag, "variant": c.arm}, "user": {"id": c.unit}},
        ("flag.key", "flag.variant", "user.id", "ts"),
    ),
    "a targeting key in the context": (
        lambda c: {
            "time": c.iso, "flagKey": c.flag, "variant": c.arm, "reason": "SPLIT",
            "context": {"targetingKey": c.unit, "plan": "pro"},
        },
        ("flagKey", "variant", "context.targetingKey", "time"),
    ),
    "camel case": (
        lambda c: {
            "eventTime": c.iso, "experimentName": c.flag, "treatmentName": c.arm, "visitorId": c.unit,
            "eventId": c.unique(),
        },
        ("experimentName", "treatmentName", "visitorId", "eventTime"),
    ),
    "Hackle": (
        lambda c: {
            "ts": c.ms, "insert_id": c.unique(), "experiment_key": 42, "experiment_type": "AB_TEST",
            "variation_key": c.arm, "decision_reason": "TRAFFIC_ALLOCATED",
            "identifiers": {"$id": c.unique(), "$userId": c.unit},
        },
        ("experiment_key", "variation_key", "identifiers.$userId", "ts"),
    ),
    "Kameleoon": (
        lambda c: {
            "visitorCode": c.unit, "experimentId": 1234, "variationId": c.random.choice((1, 2)),
            "timestamp": c.ms, "siteCode": "abc", "eventType": "experiment",
        },
        ("experimentId", "variationId", "visitorCode", "timestamp"),
    ),
    "VWO": (
        lambda c: {
            "d": {
                "event": {"name": "vwo_shown", "time": c.ms, "props": {"id": "7", "variation": c.arm}},
                "visId": c.unit, "msgId": c.unique(),
            }
        },
        ("d.event.props.id", "d.event.props.variation", "d.visId", "d.event.time"),
    ),
    "AB Tasty": (
        lambda c: {"vid": c.unit, "caid": c.flag, "vaid": c.arm, "cst": c.ms, "t": "CAMPAIGN"},
        ("caid", "vaid", "vid", "cst"),
    ),
    "a Snowflake table in capitals": (
        lambda c: {
            "FLAG_KEY": c.flag, "VARIATION_INDEX": c.random.choice((0, 1)), "CONTEXT_KEY": c.unit,
            "EVALUATION_TIMESTAMP": c.iso, "ENV": "production",
        },
        ("FLAG_KEY", "VARIATION_INDEX", "CONTEXT_KEY", "EVALUATION_TIMESTAMP"),
    ),
    "Adobe Target in the Experience Platform": (
        lambda c: {
            "_id": c.unique(), "timestamp": c.iso, "identityMap": {"ECID": [{"id": c.unit}]},
            "_experience": {"propositions": [
                {"scopeDetails": {"activity": {"id": c.flag}, "experience": {"id": c.arm}}}
            ]},
        },
        (
            "_experience.propositions[].scopeDetails.activity.id",
            "_experience.propositions[].scopeDetails.experience.id", "identityMap.ECID[0].id", "timestamp",
        ),
    ),
    "Braze": (
        lambda c: {
            "id": c.unique(), "user_id": c.unit, "time": c.ms // 1000, "campaign_id": c.flag,
            "message_variation_id": c.arm, "device_id": c.unique(),
        },
        ("campaign_id", "message_variation_id", "user_id", "time"),
    ),
    "GA4 with parameters of one's own": (
        lambda c: {
            "event_name": "ab_test", "event_timestamp": c.ms * 1000, "user_pseudo_id": c.unit,
            "event_params": [key_value("ab_test_name", c.flag), key_value("variant", c.arm)],
        },
        (
            "event_params[key=ab_test_name].value.string_value",
            "event_params[key=variant].value.string_value", "user_pseudo_id", "event_timestamp",
        ),
    ),
    "ABsmartly": (
        lambda c: {
            "units": [{"type": "user_id", "value": c.unit}], "publishedAt": c.ms,
            "exposures": [{"id": 1, "name": c.flag, "variant": c.random.choice((0, 1)), "exposedAt": c.ms}],
        },
        (
            "exposures[].name", "exposures[].variant", "units[type=user_id].value", "exposures[].exposedAt",
        ),
    ),
    "names that only have a part of the usual ones": (
        lambda c: {"zeitpunkt": c.iso, "testfall_test": c.flag, "variante": c.arm, "kunde_id": c.unit},
        ("testfall_test", "variante", "kunde_id", "zeitpunkt"),
    ),
    "a variant of one name and another of many": (
        lambda c: {"dyid": c.unit, "experience_name": "hero", "variant_text": c.arm, "session_start": c.iso},
        ("experience_name", "variant_text", "dyid", "session_start"),
    ),
    "JSON as text": (
        lambda c: {"at": c.iso, "payload": json.dumps({"feature": c.flag, "arm": c.arm, "userId": c.unit})},
        ("payload.feature", "payload.arm", "payload.userId", "at"),
    ),
}  # fmt: skip
ROLES = ("flag_key", "variant_key", "unit_id_hash", "timestamp")


@pytest.mark.parametrize("name", EXPORTS)
def test_flag_variant_unit_and_time_are_told(name):
    make, told = EXPORTS[name]
    found = guess([make(Chance(number)) for number in range(400)]).columns
    assert tuple(found.get(role, role) for role in ROLES) == told


@pytest.mark.parametrize("name", EXPORTS)
def test_told_paths_lead_to_a_value_in_every_row(name):
    make, _ = EXPORTS[name]
    rows = [make(Chance(number)) for number in range(50)]
    for path in guess(rows).columns.values():
        assert all(values_at(row, path) for row in rows)


@pytest.mark.parametrize(
    ("make", "flag", "variant"),
    [
        (
            lambda c: {"feature_flags": {"new-test": c.arm == "A", "beta": True}},
            "new-test",
            "feature_flags.new-test",
        ),
        (lambda c: {"flags": {"summer-sale": c.arm}}, "summer-sale", "flags.summer-sale"),
        (
            lambda c: {
                "user_properties": [key_value("firebase_exp_12", c.arm), key_value("first_open", "1")]
            },
            "firebase_exp_12",
            "user_properties[key=firebase_exp_12].value.string_value",
        ),
    ],
    ids=["Datadog RUM", "Vercel", "Firebase Remote Config"],
)
def test_flag_that_is_a_key_of_an_object_is_named_by_it(make, flag, variant):
    rows = [{"date": c.ms, "usr": {"id": c.unit}, "session": {"id": c.unique()}, **make(c)}
            for c in map(Chance, range(400))]  # fmt: skip
    found = guess(rows)
    assert (found.constants, found.columns["variant_key"]) == ({"flag_key": flag}, variant)
    assert found.columns["unit_id_hash"] == "usr.id"


def test_event_that_is_an_exposure_is_told_from_the_others():
    def row(c):
        if c.random.random() < 0.5:
            return {"event": "Order", "anonymousId": c.unit, "timestamp": c.iso, "properties": {"total": 3}}
        told = {"experimentId": c.flag, "variationName": c.arm}
        return {"event": "Experiment Assigned", "anonymousId": c.unit, "timestamp": c.iso, "properties": told}

    found = guess([row(Chance(number)) for number in range(400)])
    assert found.where == {"event": "Experiment Assigned"}


def test_rows_without_a_flag_are_no_exposures_where_no_event_tells_them():
    rows = [{"ts": c.ms, "user_id": c.unit, **({"flag": c.flag, "variant": c.arm} if c.ms % 2 else {})}
            for c in map(Chance, range(400))]  # fmt: skip
    assert guess(rows).where == {"flag": "*"}


def test_what_a_person_named_is_kept():
    rows = [{"ts": c.ms, "user_id": c.unit, "team_id": c.unit, "flag": c.flag, "variant": c.arm}
            for c in map(Chance, range(400))]  # fmt: skip
    assert guess(rows, {"unit_id_hash": "team_id"}).columns["unit_id_hash"] == "team_id"


def test_names_that_say_nothing_are_not_guessed_at():
    assert guess([{"a": str(number), "b": "x"} for number in range(100)]).columns == {}
