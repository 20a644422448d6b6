"""Traffic drop: did units stop arriving?"""

from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test

__all__ = ["TrafficVerdict", "traffic_drop_test"]
