"""Seeded Monte-Carlo runs that hold the statistical claims."""
