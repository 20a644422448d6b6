"""Slack: the sender, its messages and errors, and the buttons that record decisions."""
