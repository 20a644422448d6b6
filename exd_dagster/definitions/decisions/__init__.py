"""People's decisions in Dagster: the asset that records them, and the sensor that applies them."""
