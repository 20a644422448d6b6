"""The contents of notifications, for every channel."""
