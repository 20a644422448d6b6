"""Metrics as a file in Prometheus' text format, for node_exporter's textfile collector."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from exd_dagster.errors import DeliveryError
from exd_dagster.monitoring.metrics import METRICS, Metric, Sample

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

INSTALL = "prometheus_client is not installed; run: pip install 'exd-dagster[prometheus]'"


def write_prometheus(path: str | Path, samples: Iterable[Sample], labels: Mapping[str, str]) -> None:
    """Write the samples; the file is replaced at once, so that a scrape never reads half of it.

    Args:
        path: of the file; the textfile collector reads those that end in `.prom`.
        samples: every value there is now.
        labels: added to each, such as the fleet.

    Raises:
        DeliveryError: when prometheus_client is not installed, or the file cannot be written.
    """
    try:
        from prometheus_client import CollectorRegistry, write_to_textfile
        from prometheus_client.registry import Collector
    except ImportError:
        raise DeliveryError(INSTALL) from None

    class Measured(Collector):
        def collect(self) -> "Iterator[Family]":
            yield from _families(list(samples), labels)

    registry = CollectorRegistry()
    registry.register(Measured())
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise DeliveryError(f"{path} cannot be written: {error.strerror}") from None


def _families(samples: list[Sample], labels: Mapping[str, str]) -> "Iterator[Family]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for metric in METRICS.values():
        own = [sample for sample in samples if sample.metric == metric.name]
        if not own:
            continue
        names = [*labels, *own[0].attributes]
        kind = CounterMetricFamily if metric.counter else GaugeMetricFamily
        family = kind(_name(metric), metric.description, labels=names)
        for sample in own:
            family.add_metric([*labels.values(), *sample.attributes.values()], sample.value)
        yield family


def _name(metric: Metric) -> str:
    return metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
