"""Audits of what the vendors' own SDKs write, in an environment of their own (marker `vendors`)."""
