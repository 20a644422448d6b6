"""OpenFeature with flagd in process and the OpenTelemetry hook: span events, written one a line."""

import json
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from openfeature import api
from openfeature.contrib.hook.opentelemetry import TracingHook
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

ARM_FIELDS = ["attributes/feature_flag.result.variant"]


def definitions(keys):
    return {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {
            key: {
                "state": "ENABLED",
                "variants": {"control": "old", "treatment": "new"},
                "defaultVariant": "control",
                "targeting": {"fractional": [["control", 60], ["treatment", 40]]},
            }
            for key in keys
        },
    }


def evaluate(document, users, keys, write):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.json"
        file.write_text(json.dumps(document))
        provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(file))
        api.set_provider_and_wait(provider)  # without waiting the first users get the default
        api.add_hooks([TracingHook()] if write else [])
        client = api.get_client()
        tracer = TracerProvider().get_tracer("exd")
        assigned = {key: [] for key in keys}
        for user in users:
            context = EvaluationContext(targeting_key=user)
            span = tracer.start_span("request")
            with trace.use_span(span, end_on_exit=True):
                for key in keys:
                    assigned[key].append(client.get_string_details(key, "none", context).variant)
            for event in span.events if write else ():
                at = datetime.fromtimestamp(event.timestamp / 1e9, timezone.utc).isoformat()
                write({"timestamp": at, "name": event.name, "attributes": dict(event.attributes)})
        api.shutdown()
    return assigned
