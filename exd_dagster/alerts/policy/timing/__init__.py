"""When a message may be sent, how many an hour, and when an incident is told again. Pure."""
