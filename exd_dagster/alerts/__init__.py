"""Verdicts to alerts to deliveries: decide, then do."""
