"""The audit in a notebook: one frame, the three verdicts, and alerts to whoever should know."""

from exd_dagster.notebook.dispatcher import DeliveryResult, WebhookAlertDispatcher
from exd_dagster.notebook.live import LiveMonitor

__all__ = ["DeliveryResult", "LiveMonitor", "WebhookAlertDispatcher"]
