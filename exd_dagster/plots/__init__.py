"""Pictures of bins and verdicts: small SVG that reads on a light and on a dark page alike."""

from exd_dagster.plots.segments import parts_plot, segments_plot
from exd_dagster.plots.sparkline import sparkline
from exd_dagster.plots.split import split_plot
from exd_dagster.plots.svg import as_data_uri, as_markdown_image
from exd_dagster.plots.traffic import traffic_plot

__all__ = [
    "as_data_uri",
    "as_markdown_image",
    "parts_plot",
    "segments_plot",
    "sparkline",
    "split_plot",
    "traffic_plot",
]
