"""Metrics of audits and deliveries, and the heartbeat that stops when audits no longer end."""
