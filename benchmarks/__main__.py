"""Run every benchmark: `make bench` (BIG=1 for the large ones, the UI with 2,000 flags, and the lake)."""

import os

from benchmarks import (
    bench_alerts,
    bench_audit,
    bench_bins,
    bench_cli,
    bench_engines,
    bench_import,
    bench_lake,
    bench_nights,
    bench_presets,
    bench_stats,
    bench_ui,
)
from benchmarks.line import summary

if __name__ == "__main__":
    bench_import.main()
    bench_stats.main()
    bench_nights.main()
    bench_bins.main()
    bench_engines.main()
    bench_presets.main()
    bench_audit.main()
    bench_alerts.main()
    bench_cli.main()
    if os.environ.get("BIG"):
        bench_ui.main()
        bench_lake.main()
    summary()
