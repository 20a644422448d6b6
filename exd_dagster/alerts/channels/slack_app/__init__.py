"""Answers in Slack: buttons that carry a signed decision, and what Slack sends back when one is pressed."""
