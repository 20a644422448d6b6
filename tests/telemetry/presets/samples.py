"""A sample of every preset's export, in the vendor's documented form: two arms, fallbacks, other rows."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
FLAG = "checkout-redesign"
ARMS = ("control", "treatment")


def iso(at):
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms(at):
    return int(at.timestamp() * 1000)


def plain(at):
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def text(value):
    return {"stringValue": value}


@dataclass(frozen=True)
class Export:
    """How one vendor writes rows: an exposure, one without an assignment, and rows that are none."""

    row: object
    fallback: object = None
    foreign: object = None
    flag: str = FLAG
    arms: tuple = ARMS
    written: tuple = ARMS
    """What stands in the row for each arm; numbers and booleans where the vendor writes these."""
    counted: object = field(default=None)


def exd(unit, arm, at, i):
    return {
        "timestamp": iso(at), "flag_key": FLAG, "variant_key": arm, "unit_id_hash": unit,
        "evaluation_id": f"e{i}", "environment": "production", "evaluation_reason": "split",
    }  # fmt: skip


def otel(unit, arm, at, i):
    return {
        "timestamp": iso(at), "event_name": "feature_flag.evaluation", "feature_flag.key": FLAG,
        "feature_flag.result.variant": arm, "feature_flag.result.reason": "split",
        "feature_flag.context.id": unit, "feature_flag.provider.name": "flagd", "service.name": "shop",
    }  # fmt: skip


def otlp(unit, arm, at, i, reason="split"):
    named = {
        "feature_flag.key": FLAG, "feature_flag.result.variant": arm, "feature_flag.result.reason": reason,
        "feature_flag.context.id": unit, "feature_flag.provider.name": "flagd",
    }  # fmt: skip
    attributes = [{"key": key, "value": text(value)} for key, value in named.items()]
    record = {"timeUnixNano": str(ms(at) * 10**6), "eventName": "feature_flag.evaluation"}
    noise = {**record, "attributes": [{"key": "http.route", "value": text("/cart")}]}
    service = {"attributes": [{"key": "service.name", "value": text("shop")}]}
    if i % 2:  # a span event
        event = {"timeUnixNano": record["timeUnixNano"], "name": "feature_flag.evaluation"}
        spans = [{"traceId": f"{i:032x}", "events": [{**event, "attributes": attributes}]}]
        return {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": spans}]}]}
    logs = [{"scope": {"name": "flags"}, "logRecords": [noise, {**record, "attributes": attributes}]}]
    return {"resourceLogs": [{"resource": service, "scopeLogs": logs}]}


def launchdarkly(unit, arm, at, i):
    context = {"kind": "multi", "user": {"key": unit}, "account": {"key": f"a{i % 7}"}}
    row = {
        "kind": "feature", "key": FLAG, "creationDate": ms(at), "variation": arm, "version": 4, "default": 0,
        "value": ["old", "new"][arm or 0], "reason": {"kind": "FALLTHROUGH"},
        "context": context if i % 2 else {"kind": "user", "key": unit},
    }  # fmt: skip
    if arm is None:
        del row["variation"]
    return row


def launchdarkly_warehouse(unit, arm, at, i, kind="user"):
    return {
        "event_id": f"e{i}", "flag_key": FLAG, "context_key": unit, "context_kind": kind,
        "context_attributes": "{}", "variation_id": arm, "variation_value": json.dumps(arm),
        "environment_id": "production", "project_id": "shop", "creation_time": iso(at),
        "received_time": iso(at + timedelta(seconds=3)),
    }  # fmt: skip


def growthbook(unit, arm, at, i):
    return {
        "user_id": unit, "timestamp": plain(at), "experiment_id": FLAG, "variation_id": arm,
        "country": "DE", "received_at": plain(at + timedelta(seconds=5)),
    }  # fmt: skip


def growthbook_features(unit, arm, at, i):
    properties = {
        "experiment_id": FLAG, "variation_id": ARMS.index(arm), "variation_key": arm, "in_experiment": True,
        "hash_used": True, "hash_attribute": "id", "hash_value": unit,
    }  # fmt: skip
    return {
        "event_name": "$$experiment_viewed", "properties_json": properties, "sdk_language": "python",
        "sdk_version": "4.0.0", "url": "", "context_json": {}, "device_id": unit, "timestamp": iso(at),
    }  # fmt: skip


def statsig(unit, arm, at, i):
    return {
        "company_id": "c", "unit_id": unit, "unit_type": "userID", "name": FLAG, "rule": "r1",
        "experiment_group": arm, "first_exposure_utc": plain(at), "first_exposure_pst_date": f"{at:%Y-%m-%d}",
        "as_of_pst_date": f"{at:%Y-%m-%d}", "user_dimensions": '{"country": "DE"}',
    }  # fmt: skip


def statsig_events(unit, arm, at, i):
    return {
        "user": {"userID": unit, "statsigEnvironment": {"tier": "production"}}, "time": ms(at),
        "eventName": "statsig::config_exposure", "secondaryExposures": [], "statsigMetadata": {},
        "metadata": {"config": FLAG, "ruleID": arm, "reason": "Network"},
    }  # fmt: skip


def posthog(unit, arm, at, i):
    properties = {"$feature_flag": FLAG, "$feature_flag_response": arm, "$lib": "posthog-python"}
    return {
        "uuid": f"u{i}", "event": "$feature_flag_called", "distinct_id": unit, "timestamp": iso(at),
        "properties": properties, "person_id": f"p{unit}", "created_at": iso(at + timedelta(seconds=2)),
    }  # fmt: skip


def eppo(unit, arm, at, i):
    return {
        "allocation": "allocation-7", "experiment": FLAG, "featureFlag": "checkout", "variation": arm,
        "subject": unit, "timestamp": iso(at), "subjectAttributes": {"country": "DE"},
        "metaData": {"sdkLanguage": "python", "sdkVersion": "4.4.1"},
    }  # fmt: skip


def unleash(unit, arm, at, i):
    return {
        "eventType": "getVariant", "eventId": f"e{i}", "context": {"userId": unit, "appName": "shop"},
        "enabled": True, "featureName": FLAG, "variant": arm, "timestamp": iso(at),
    }  # fmt: skip


def flagsmith(unit, arm, at, i):
    return {
        "event": "$flag_exposure", "feature_name": FLAG, "identifier": unit, "value": arm, "traits": None,
        "metadata": {"sdk_version": "6.3.0"}, "timestamp": ms(at),
    }  # fmt: skip


def amplitude(unit, arm, at, i, source="initial-storage"):
    return {
        "event_type": "[Experiment] Exposure", "event_time": plain(at), "user_id": unit,
        "device_id": f"d{unit}", "amplitude_id": 7, "$insert_id": f"e{i}", "uuid": f"u{i}",
        "server_upload_time": plain(at),
        "event_properties": {"flag_key": FLAG, "variant": arm, "source": source}, "country": "Germany",
    }  # fmt: skip


def optimizely(unit, arm, at, i, holdback=False):
    return {
        "uuid": f"u{i}", "timestamp": ms(at), "process_timestamp": ms(at) + 5000, "visitor_id": unit,
        "session_id": None, "account_id": "12", "campaign_id": "34", "experiment_id": "9300000001",
        "variation_id": arm, "attributes": [], "is_holdback": holdback, "revision": "88",
        "client_engine": "python-sdk", "client_version": "5.7.0",
    }  # fmt: skip


def optimizely_sdk(unit, arm, at, i):
    decision = {
        "flag_key": FLAG, "enabled": True, "variables": {}, "variation_key": arm, "rule_key": "exp_1",
        "reasons": [], "decision_event_dispatched": True,
    }  # fmt: skip
    return {
        "timestamp": iso(at), "type": "flag", "user_id": unit, "attributes": {}, "decision_info": decision
    }  # fmt: skip


def split(unit, arm, at, i, label="default rule"):
    return {
        "key": unit, "label": label, "treatment": arm, "splitName": FLAG, "splitVersion": 7,
        "environmentId": "production", "trafficTypeId": "user", "sdk": "python", "sdkVersion": "10.7.0",
        "timestamp": ms(at), "receptionTimestamp": ms(at) + 4000,
    }  # fmt: skip


def configcat(unit, arm, at, i, default=False):
    return {
        "key": FLAG, "value": arm, "variationId": None if default else f"v-{arm}", "isDefaultValue": default,
        "user": {"identifier": unit, "country": "DE"}, "fetchTime": iso(START), "timestamp": iso(at),
    }  # fmt: skip


def segment(unit, arm, at, i):
    properties = {"experiment_id": FLAG, "experiment_name": "Checkout", "variation_id": arm}
    return {
        "type": "track", "event": "Experiment Viewed", "anonymousId": f"an-{unit}", "userId": unit,
        "messageId": f"m{i}", "timestamp": iso(at), "receivedAt": iso(at), "properties": properties,
        "context": {"library": {"name": "analytics.js"}},
    }  # fmt: skip


def ga4(unit, arm, at, i):
    def param(key, value):
        kinds = dict.fromkeys(("string_value", "int_value", "float_value", "double_value"))
        return {"key": key, "value": {**kinds, "string_value": value}}

    params = [param("page", "/"), param("experiment_id", FLAG), param("variation_id", arm)]
    return {
        "event_date": f"{at:%Y%m%d}", "event_timestamp": ms(at) * 1000, "event_name": "experiment_viewed",
        "event_params": params, "user_pseudo_id": unit, "user_id": None, "platform": "WEB",
        "geo": {"country": "Germany"}, "device": {"category": "mobile"},
    }  # fmt: skip


def mixpanel(unit, arm, at, i):
    properties = {
        "time": ms(at) // 1000, "distinct_id": unit, "$insert_id": f"i{i}", "Experiment name": FLAG,
        "Variant name": arm, "mp_country_code": "DE",
    }  # fmt: skip
    return {"event": "$experiment_started", "properties": properties}


def microsoft(unit, arm, at, i, reason="Percentile"):
    dimensions = {
        "FeatureName": FLAG, "Enabled": "True", "Variant": arm, "VariantAssignmentReason": reason,
        "TargetingId": unit, "VariantAssignmentPercentage": "50",
        "FeatureFlagReference": "https://shop.azconfig.io/kv/.appconfig.featureflag%2Fcheckout?label=prod",
    }  # fmt: skip
    return {
        "timestamp": iso(at), "name": "FeatureEvaluation", "itemId": f"i{i}", "itemType": "customEvent",
        "customDimensions": json.dumps(dimensions), "cloud_RoleName": "shop",
    }  # fmt: skip


def evidently(unit, arm, at, i, kind="EXPERIMENT_RULE_MATCH"):
    return {
        "event_timestamp": ms(at), "event_type": "evaluation", "version": "1.0.0",
        "project_arn": "arn:aws:evidently:us-east-1:1:project/shop", "feature": "checkout", "variation": arm,
        "entity_id": unit, "entity_attributes": {}, "evaluation_type": kind, "treatment": arm,
        "experiment": FLAG,
    }  # fmt: skip


def go_feature_flag(unit, arm, at, i, default=False):
    return {
        "kind": "feature", "contextKind": "user", "userKey": unit, "creationDate": ms(at) // 1000,
        "key": FLAG, "variation": arm, "value": arm == "treatment", "default": default, "version": "",
        "source": "SERVER",
    }  # fmt: skip


def flagr(unit, arm, at, i):
    result = {
        "evalContext": {"entityID": unit, "entityType": "user", "flagID": 1, "flagKey": FLAG}, "flagID": 1,
        "flagKey": FLAG, "flagSnapshotID": 8, "segmentID": 1, "timestamp": iso(at), "variantID": 3,
        "variantKey": arm,
    }  # fmt: skip
    return {"payload": json.dumps({k: v for k, v in result.items() if v is not None}), "encrypted": False}


def featbit(unit, arm, at, i, reason="percentage rollout match"):
    variation = {"id": f"v-{arm}", "value": arm, "reason": reason}
    seen = {"featureFlagKey": FLAG, "timestamp": ms(at), "sendToExperiment": True, "variation": variation}
    return {"user": {"keyId": unit, "name": unit, "customizedProperties": []}, "variations": [seen]}


def devcycle(unit, arm, at, i, kind="variableEvaluated"):
    return {
        "type": kind, "target": FLAG, "user_id": unit, "date": iso(at), "clientDate": iso(at), "value": 1,
        "featureVars": {"f1": arm}, "metaData": {"_feature": "f1", "_variation": arm},
    }  # fmt: skip


def datadog(unit, arm, at, i):
    return {
        "timestamp": ms(at), "allocation": {"key": "allocation-1"}, "flag": {"key": FLAG},
        "variant": {"key": arm}, "subject": {"id": unit, "attributes": {}}, "service": "shop", "env": "prod",
    }  # fmt: skip


def confidence(unit, arm, at, i):
    return {
        "assignment_time": iso(at), "flag": f"flags/{FLAG}", "targeting_key": unit, "rule": "flags/x/rules/r",
        "variant": f"flags/{FLAG}/variants/{arm}" if arm else None, "resolve_id": f"e{i}",
        "client": "clients/web",
    }  # fmt: skip


def other(make, **changes):
    """Return a maker of the same row, changed so that it is no exposure."""
    return lambda unit, at, i: {**make(unit, ARMS[0], at, i), **changes}


EXPORTS = {
    "exd": Export(exd, other(exd, evaluation_reason="sdk_default")),
    "opentelemetry": Export(otel, other(otel, **{"feature_flag.result.reason": "error"})),
    "opentelemetry-otlp": Export(otlp, lambda u, at, i: otlp(u, ARMS[0], at, i, reason="error")),
    "launchdarkly": Export(
        launchdarkly,
        lambda u, at, i: launchdarkly(u, None, at, i),
        lambda u, at, i: {
            "kind": "custom",
            "key": "purchase",
            "creationDate": ms(at),
            "context": {"kind": "user"},
        },
        arms=("0", "1"),
        written=(0, 1),
    ),
    "launchdarkly-warehouse": Export(
        launchdarkly_warehouse,
        lambda u, at, i: launchdarkly_warehouse(u, None, at, i),
        lambda u, at, i: launchdarkly_warehouse(f"acc{i % 5}", ARMS[0], at, i, kind="account"),
    ),
    "growthbook": Export(growthbook, arms=("0", "1"), written=(0, 1)),
    "growthbook-features": Export(
        growthbook_features,
        None,
        other(growthbook_features, event_name="$$feature_evaluated"),
    ),
    "statsig": Export(statsig),
    "statsig-events": Export(
        statsig_events,
        lambda u, at, i: statsig_events(u, "layerAssignment", at, i),
        other(statsig_events, eventName="purchase", metadata={"price": "3"}),
    ),
    "posthog": Export(
        posthog,
        lambda u, at, i: posthog(u, None, at, i),
        other(posthog, event="$pageview", properties={"$current_url": "/"}),
    ),
    "eppo": Export(eppo, lambda u, at, i: eppo(u, None, at, i)),
    "unleash": Export(unleash, lambda u, at, i: unleash(u, "disabled", at, i)),
    "flagsmith": Export(
        flagsmith,
        lambda u, at, i: flagsmith(u, None, at, i),
        other(flagsmith, event="purchase", feature_name=None, value="9.5"),
    ),
    "amplitude": Export(
        amplitude,
        lambda u, at, i: amplitude(u, ARMS[0], at, i, source="fallback-inline"),
        other(amplitude, event_type="Page Viewed", event_properties={}),
    ),
    "optimizely": Export(
        optimizely,
        lambda u, at, i: optimizely(u, "101", at, i, holdback=True),
        flag="9300000001",
        arms=("101", "102"),
        written=("101", "102"),
    ),
    "optimizely-sdk": Export(optimizely_sdk, lambda u, at, i: optimizely_sdk(u, None, at, i)),
    "split": Export(
        split,
        lambda u, at, i: split(u, "control", at, i, label="exception"),
        arms=("off", "on"),
        written=("off", "on"),
    ),
    "configcat": Export(configcat, lambda u, at, i: configcat(u, ARMS[0], at, i, default=True)),
    "segment": Export(segment, None, other(segment, event="Order Completed", properties={"total": 3})),
    "ga4": Export(ga4, None, other(ga4, event_name="page_view")),
    "mixpanel": Export(
        mixpanel,
        None,
        lambda u, at, i: {"event": "Sign up", "properties": {"time": ms(at) // 1000, "distinct_id": u}},
    ),
    "microsoft": Export(
        microsoft,
        lambda u, at, i: microsoft(u, ARMS[0], at, i, reason="DefaultWhenDisabled"),
        other(microsoft, name="Checkout", customDimensions='{"TargetingId": "u"}'),
    ),
    "evidently": Export(evidently, lambda u, at, i: evidently(u, ARMS[0], at, i, kind="DEFAULT")),
    "go-feature-flag": Export(
        go_feature_flag, lambda u, at, i: go_feature_flag(u, "SdkDefault", at, i, default=True)
    ),
    "flagr": Export(flagr, lambda u, at, i: flagr(u, None, at, i)),
    "featbit": Export(featbit, lambda u, at, i: featbit(u, ARMS[0], at, i, reason="flag off")),
    "devcycle": Export(
        devcycle,
        lambda u, at, i: devcycle(u, ARMS[0], at, i, kind="variableDefaulted"),
        other(devcycle, type="customEvent", target="purchase"),
    ),
    "datadog": Export(datadog),
    "confidence": Export(confidence, lambda u, at, i: confidence(u, None, at, i)),
}


@dataclass(frozen=True)
class Sample:
    """Rows, the flag in them, and what a recount of the exposures gives."""

    rows: list
    flag: str
    units: dict
    evaluations: dict
    fallbacks: int


def sample(name, units=300, seed=7):
    """Make rows of an export over three days: each unit once or twice, one fallback in ten, other rows."""
    export, chance = EXPORTS[name], random.Random(seed)
    rows, seen, times, fallbacks = [], Counter(), Counter(), 0
    for number in range(units):
        unit, arm = f"user-{number:04d}", chance.randrange(2)
        seen[export.arms[arm]] += 1
        for _ in range(1 + (number % 3 == 0)):
            at = START + timedelta(seconds=chance.uniform(0, 3 * 86400 - 1))
            rows.append(export.row(unit, export.written[arm], at, len(rows)))
            times[export.arms[arm]] += 1
        if export.fallback and number % 10 == 0:
            rows.append(export.fallback(f"other-{number}", at, len(rows)))
            fallbacks += 1
        if export.foreign and number % 4 == 0:
            rows.append(export.foreign(unit, at, len(rows)))
    chance.shuffle(rows)
    return Sample(rows, export.flag, dict(seen), dict(times), fallbacks)


def write_ndjson(rows, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
