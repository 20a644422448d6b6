"""`exd-dagster drill`: inject a fault into a copy of the records and measure detection."""
