"""The demo: seeded records with planted faults, audited by a real project on a real Dagster instance."""
