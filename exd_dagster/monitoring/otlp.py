"""Metrics over OTLP/HTTP by OpenTelemetry's own SDK (extra `otel`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from exd_dagster.alerts.channels.guard import captured_warnings, redact
from exd_dagster.errors import DeliveryError
from exd_dagster.monitoring.metrics import METRICS, Sample

INSTALL = "OpenTelemetry is not installed; run: pip install 'exd-dagster[otel]'"
PATH = "/v1/metrics"


class OtlpMetrics:
    """Sends samples to one receiver; counters begin at 0 when it is made, as OpenTelemetry asks.

    Headers, certificates and compression come from the standard variables `OTEL_EXPORTER_OTLP_*`.

    Args:
        endpoint: address of the receiver; `/v1/metrics` is added unless it is there.
        attributes: of the resource, such as `exd.fleet`.
        timeout: seconds that one export may take, retries included.

    Raises:
        DeliveryError: when OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, attributes: Mapping[str, str], timeout: float) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import InMemoryMetricReader
            from opentelemetry.sdk.resources import Resource
        except ImportError:
            raise DeliveryError(INSTALL) from None
        address = endpoint if endpoint.endswith(PATH) else endpoint.rstrip("/") + PATH
        self._endpoint = endpoint
        self._exporter = OTLPMetricExporter(endpoint=address, timeout=timeout)
        self._milliseconds = timeout * 1000
        self._reader = InMemoryMetricReader()
        provider = MeterProvider(
            [self._reader],
            Resource.create({"service.name": "exd_dagster", **attributes}),
            shutdown_on_exit=False,
        )
        self._meter = provider.get_meter("exd_dagster")
        self._counters = {
            metric.name: self._meter.create_counter(metric.name, metric.unit, metric.description)
            for metric in METRICS.values()
            if metric.counter
        }
        self._gauges: list[Sample] = []
        for metric in METRICS.values():
            if not metric.counter:
                self._meter.create_observable_gauge(
                    metric.name, [self._observed(metric.name)], metric.unit, metric.description
                )

    def export(self, gauges: Iterable[Sample], increments: Iterable[Sample]) -> None:
        """Send the gauges as they are now, and the counters with what they grew by.

        Args:
            gauges: every gauge there is now; one left out is no longer sent.
            increments: growth of counters since the last call.

        Raises:
            DeliveryError: when the receiver did not take them.
        """
        from opentelemetry.sdk.metrics.export import MetricExportResult

        self._gauges = list(gauges)
        for sample in increments:
            self._counters[sample.metric].add(sample.value, dict(sample.attributes))
        data = self._reader.get_metrics_data()
        with captured_warnings("opentelemetry") as lines:
            result = None if data is None else self._exporter.export(data, self._milliseconds)
        if result is MetricExportResult.FAILURE:
            why = lines[-1] if lines else "no answer"
            raise DeliveryError(f"the metrics were not accepted: {redact(why, [self._endpoint], 200)}")

    def _observed(self, name: str) -> Callable[[Any], Sequence[Any]]:
        from opentelemetry.metrics import Observation

        return lambda _: [Observation(s.value, dict(s.attributes)) for s in self._gauges if s.metric == name]
