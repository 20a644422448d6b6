"""Slack, e-mail, webhook and callback: a file per channel."""
