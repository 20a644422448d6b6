"""Checks of the reports that are built on flags."""
