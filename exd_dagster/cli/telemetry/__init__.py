"""`exd-dagster telemetry`: the questions of `exd telemetry`, with the verdicts of the checks."""
