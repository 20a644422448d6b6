"""When a message may be sent, how many an hour, and when an incident is repeated or escalated. Pure."""
