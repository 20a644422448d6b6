"""Metrics of audits and deliveries, and the notice that audits no longer end."""
